"""Where runs are: every folder below an output folder that holds one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

TEACHERS = "teachers"
_BEGUN, _FINISHED = "config.yaml", "result.json"


def begun(outputs: Path, *, teachers: bool = False) -> set[Path]:
    """Folders of runs that were begun or copied there; with `teachers` those of teachers, too."""
    return _holding((_BEGUN, _FINISHED), outputs, teachers)


def finished(outputs: Path, *, teachers: bool = False) -> set[Path]:
    """Folders of runs that left a result, be it damaged."""
    return _holding((_FINISHED,), outputs, teachers)


def _holding(names: Iterable[str], outputs: Path, teachers: bool) -> set[Path]:
    roots = [Path(outputs), *([Path(outputs) / TEACHERS] if teachers else [])]
    return {path.parent for root in roots for name in names for path in root.glob(f"*/{name}")}
