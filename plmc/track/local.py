"""Tracking switched off: the curves still reach the run's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmc.track.tracker import Status

if TYPE_CHECKING:
    from plmc.heads.base import Head


class LocalHistory:
    """The calls of `Tracker`, of which only `log` does something: a line of `tracking/events.jsonl` a call."""

    uri = run_id = experiment_id = None
    warnings: tuple[str, ...] = ()

    def __init__(self, folder: Path):
        self._path = folder / "tracking" / "events.jsonl"

    def start(self, params: Mapping[str, Any] | None = None, *, running: bool = True) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)

    def log(self, values: Mapping[str, float], step: int) -> None:
        # A resumed run repeats updates; readers take the later line of an update.
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": "metrics", "step": step, "values": dict(values)}) + "\n")

    def input(self, *, name: str, source: str, rows: int, digest: str, context: str, origin: str = "local") -> None: ...

    def tag(self, values: Mapping[str, str]) -> None: ...

    def artifact(self, path: Path, folder: str = "") -> None: ...

    def model(
        self,
        path: Path,
        *,
        head: Head,
        example: str | Mapping[str, str],
        name: str = "model",
        max_length: int = 512,
        step: int = 0,
    ) -> None: ...

    def finish(self, status: Status | None = "FINISHED") -> None: ...


class Silence(LocalHistory):
    """The calls of `Tracker` in a process that another one of the same run speaks for."""

    def start(self, params: Mapping[str, Any] | None = None, *, running: bool = True) -> None: ...

    def log(self, values: Mapping[str, float], step: int) -> None: ...
