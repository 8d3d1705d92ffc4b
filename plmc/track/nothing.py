"""Tracking switched off."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plmc.track.tracker import Status


class NoTracker:
    """The calls of `Tracker`, doing nothing."""

    uri, run_id, experiment_id, pending = "", None, None, 0

    def __init__(self):
        self.warnings: list[str] = []

    def start(self, params: Mapping[str, Any] | None = None) -> None: ...

    def log(self, values: Mapping[str, float], step: int) -> None: ...

    def input(self, *, name: str, source: str, rows: int, digest: str, context: str, origin: str = "local") -> None: ...

    def artifact(self, path: Path, folder: str = "") -> None: ...

    def model(
        self,
        path: Path,
        *,
        task_kind: str,
        example: str | Mapping[str, str],
        name: str = "model",
        max_length: int = 512,
        step: int = 0,
    ) -> None: ...

    def finish(self, status: Status = "FINISHED") -> None: ...
