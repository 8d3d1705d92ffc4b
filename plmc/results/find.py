"""Finished runs: find their folders, read them, put the seeds of one experiment together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from plmc import digests
from plmc.errors import DamagedFile, DataError, PlmcError
from plmc.results import folders
from plmc.results.record import FILE, FINISHED, Record, of_folder

_EXCLUDED = (
    "tracking",
    "output_dir",
    "threads",
    "device",
    "checkpoint",
    "log_every",
    "force",
    "latency_rows",
    "preset",
    "quantize",
    "hydra",
    "limits",
)
"""What does not change a result, hence makes no other arm."""
SEED_KEYS = ("seed", "teacher.seed")
"""The config keys by which the runs of one arm differ."""
Spread = tuple[float, float]
"""Mean and standard deviation over seeds (nan for one seed)."""


@dataclass(frozen=True)
class Run:
    """One finished run: its `folder`, `record` (result.json) and `config` (config.yaml)."""

    folder: Path
    record: Record
    config: Mapping[str, Any] = field(repr=False)

    @property
    def signature(self) -> str:
        """The name of the run, unique for its configuration."""
        return self.record.signature

    @property
    def primary(self) -> str:
        """The metric that heads the tables."""
        return self.record.primary_metric

    @property
    def score(self) -> float:
        """Value of the primary metric."""
        return self.record.score

    @property
    def label(self) -> str:
        """Recipe, methods and overrides in a few words."""
        return self.record.title

    @property
    def teacher_score(self) -> float | None:
        """The teacher's primary metric, None for a run without a judged teacher."""
        return (self.record.teacher.metrics or {}).get(self.primary)

    @property
    def reference(self) -> float | None:
        """`teacher_score` if a share of it means something: not of a teacher that has learnt nothing."""
        score = self.teacher_score
        useless = self.record.teacher.learnt_nothing or (score is not None and score <= 0)
        return None if useless else score

    @property
    def collapsed(self) -> bool:
        """Whether it gives all rows of an evaluation split the same answer."""
        return bool(self.record.collapsed)

    @property
    def identity(self) -> dict[str, Any]:
        """The config without seeds and what cannot change a result; equal for runs that are to be averaged."""
        # A run that never looked at its teacher is the same run whoever was named as teacher.
        # Its score is in the result all the same, once another run has made it.
        learned = self.record.teacher.learned_from
        learned = self.teacher_score is not None if learned is None else learned
        unused = () if learned else ("teacher",)
        left = _without(self.config, (*SEED_KEYS, *_EXCLUDED, *unused))
        if unused and isinstance(left.get("files"), Mapping):
            left["files"] = {name: value for name, value in left["files"].items() if not name.startswith("teacher.")}
        return _by_class(left)

    @property
    def table_key(self) -> tuple[str, str, str]:
        """Task, data source, and digest of the files that it was judged on: runs of one table have the same of all
        three."""
        files = self.config.get("files") or {}
        judged = {k: v for k, v in files.items() if k.removeprefix("data.").startswith("validation") and v}
        content = hashlib.sha256(json.dumps(judged, sort_keys=True).encode()).hexdigest()[:8] if judged else ""
        return self.record.task, self.record.data_source, content

    @cached_property
    def arm_key(self) -> str:
        """Hash of `identity`."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True, default=str).encode()).hexdigest()[:16]

    def split(self) -> str:
        """The split that decides: `validation`, or the first stored one that carries labels by its name."""
        stored = sorted(path.stem for path in (self.folder / "predictions").glob("*.jsonl"))
        judged = [name for name in stored if name != "test"]
        if not judged:
            raise DataError(
                f"{self.folder} holds no predictions with labels. Evaluate again: plmc evaluate {self.folder}"
            )
        return "validation" if "validation" in judged else judged[0]

    def predictions(self, split: str | None = None) -> list[dict[str, Any]]:
        """Stored records of a split, in row order. Raises DataError with file and line where one is damaged."""
        path = self.folder / "predictions" / f"{split or self.split()}.jsonl"
        if not path.exists():
            raise DataError(f"{path} is missing. Evaluate again: plmc evaluate {self.folder}")
        if wrong := digests.fault(self.folder, f"predictions/{path.name}"):
            raise DamagedFile(f"{wrong} Evaluate again: plmc evaluate {self.folder}")
        return list(read_jsonl(path))

    def says(self, key: str) -> list[str]:
        """What the run says about a filter word's key: a fact of result.json, or else a dotted key of the config."""
        if key in ("method", "methods"):
            return self.record.methods
        if key in ("student", "teacher"):
            return [str(getattr(self.record, key).name)]
        value = getattr(self.record, key) if key in Record.model_fields else _dotted(self.config, key)
        return [str(item) for item in value] if isinstance(value, list) else [str(value)]


@dataclass(frozen=True)
class Arm:
    """Runs that differ in nothing but their seed, by ascending seed."""

    runs: tuple[Run, ...]

    @property
    def first(self) -> Run:
        """The run that names the arm."""
        return self.runs[0]

    def values(self, read: Callable[[Run], float | None]) -> list[float]:
        """A figure of every run that has it."""
        found = (read(run) for run in self.runs)
        return [float(value) for value in found if value is not None]

    def spread(self, read: Callable[[Run], float | None]) -> Spread | None:
        """`spread` of a figure over the runs that have it."""
        return spread([read(run) for run in self.runs])


def spread(values: Sequence[float | None]) -> Spread | None:
    """Mean and sample standard deviation (n - 1; nan for a single one) of the values that are known; None without
    any."""
    known = [float(value) for value in values if value is not None]
    if not known:
        return None
    return float(np.mean(known)), float(np.std(known, ddof=1)) if len(known) > 1 else float("nan")


def load(folder: Path) -> Run:
    """Reads a run's folder. Raises DataError if the run is unfinished or a file is damaged."""
    if not (Path(folder) / FILE).exists():
        raise DataError(f"{folder} is not finished (no {FILE}). The command that began it resumes it.")
    try:
        record = of_folder(folder)
    except (OSError, DamagedFile) as error:
        raise DamagedFile(f"{error} Give the command of the run again: it writes the file again.") from error
    try:
        config = digests.read_config(Path(folder))
    except OSError as error:
        raise DamagedFile(f"{folder} is damaged: {error}. Delete the folder and run again.") from error
    if record.status != FINISHED:
        raise DataError(f"{folder} is not finished (status {record.status!r}). The command that began it resumes it.")
    return Run(Path(folder), record, config)


def find(outputs: Path, words: Sequence[str] = (), note: Callable[[str], None] = lambda text: None) -> list[Run]:
    """The finished runs that `words` select, by task, label and seed.

    A word `key=a,b` keeps the runs whose `key` is a or b: a field of result.json (`task`, `recipe`, `seed`,
    `data_source`), `method`, `student`, `teacher`, or a dotted key of the config (`methods.gmp.final`); `*` matches
    anything. Any other word names runs: a folder, the start of a signature, or of an MLflow run id. Unfinished and
    damaged folders are left out, and `note` is told of each. Raises PlmcError if a naming word names no run.
    """
    filters = [word.partition("=")[::2] for word in words if "=" in word]
    names = [word for word in words if "=" not in word]
    runs: dict[str, Run] = {}
    for folder in sorted({*folders.begun(outputs), *(Path(name) for name in names if Path(name).is_dir())}):
        try:
            run = load(folder)
        except DataError as error:
            note(str(error))
            continue
        # A copied folder would otherwise count as one more seed.
        if run.signature in runs:
            note(f"{folder} repeats {runs[run.signature].folder}; the latter is used.")
        runs.setdefault(run.signature, run)
    found = [run for run in runs.values() if all(_matches(run, key, wanted) for key, wanted in filters)]
    if names:
        named = [run for name in names for run in _named(name, list(runs.values()), outputs)]
        found = [run for run in found if run in named]
    return sorted(found, key=lambda run: (run.record.task, run.label, run.record.seed))


def arms(runs: Sequence[Run]) -> list[Arm]:
    """Runs put together over their seeds, in order of first appearance."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.arm_key, []).append(run)
    return [Arm(tuple(sorted(group, key=lambda run: run.record.seed))) for group in groups.values()]


def read_jsonl(path: Path):
    """The records of a JSON Lines file. Raises DataError that names the damaged line."""
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}, line {number} is damaged: {error}. Run the run's command again.") from error


def _matches(run: Run, key: str, wanted: str) -> bool:
    return any(fnmatchcase(said, choice.strip()) for said in run.says(key) for choice in wanted.split(","))


def _named(name: str, runs: Sequence[Run], outputs: Path) -> list[Run]:
    folder = Path(name).resolve()
    found = [
        run
        for run in runs
        if run.folder.resolve() == folder
        or run.signature.startswith(name)
        or (run.record.mlflow.run_id or "").startswith(name)
    ]
    if not found:
        raise PlmcError(
            f"'{name}' is no finished run in {outputs}. Name a folder, the start of a signature or MLflow run id, "
            f"or filter: task=rte recipe=kd,tinybert. `plmc ls runs` lists what is there."
        )
    return found


def _dotted(config: Mapping[str, Any], key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def _by_class(node: Any) -> Any:
    """`_target_` without the modules in its path: modules move, and a run made before is the same run."""
    if isinstance(node, Mapping):
        return {
            key: f"{value.partition('.')[0]}:{value.rpartition('.')[2]}" if key == "_target_" else _by_class(value)
            for key, value in node.items()
        }
    return [_by_class(each) for each in node] if isinstance(node, list) else node


def _without(config: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    left = {key: value for key, value in config.items() if key not in keys}
    for key in keys:
        head, _, rest = key.partition(".")
        if rest and isinstance(left.get(head), Mapping):
            left[head] = _without(left[head], [rest])
    return left
