"""Evaluation rows that a model was trained on: they are looked for before any training."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from plmc import digests
from plmc.config.resolve import Run
from plmc.console import Console
from plmc.errors import ConfigError, DamagedFile, PlmcError
from plmc.files import replacing
from plmc.tasks import rows


def guard(run: Run, data, console: Console) -> None:
    """Looks for evaluation rows that the student, or its source, has been trained on."""
    if run.budget.train_rows is not None and data.train is not None and len(data.train) < 1:
        raise PlmcError("no training rows are left under budget.train_rows.")
    if not run.task.head.supervised:  # lines of a book may well be said twice
        return
    first_name, first = next(iter(data.evaluation.items()))
    held_out = rows.row_hashes(first)
    if data.train is not None:
        seen = np.unique(rows.row_hashes(data.train))
        both = int(np.isin(held_out, seen).sum())
        if both:
            console.warn(
                f"{both} of {len(held_out)} {first_name} rows are also training rows: scores on them are too high."
            )
        with replacing(run.folder / "seen.npy") as temporary, temporary.open("wb") as file:
            np.save(file, seen)
    for who, spec in (("student", run.student.name), ("teacher", run.teacher.checkpoint)):
        origin = _origin(spec)
        if origin is not None:
            both = int(np.isin(held_out, _seen(origin)).sum())
            if both > 0.1 * len(held_out):
                raise ConfigError(
                    f"the {who} {spec} was trained on {both} of the {len(held_out)} {first_name} rows, so its score "
                    f"there means nothing. Take a model that has not seen them, or other validation rows."
                )


def _seen(path: Path) -> np.ndarray:
    """The hashes in a `seen.npy`. Raises DamagedFile."""
    text = digests.fault(path.parent, path.name)
    if text is None:
        try:
            return np.load(path)  # without objects, which could hold code
        except (OSError, ValueError, EOFError) as error:
            text = f"{path} is damaged ({str(error).splitlines()[0]})."
    raise DamagedFile(
        f"{text} It says which rows that model was trained on. Train it again, or delete the file to go on without "
        "this check."
    )


def _origin(name: str | None) -> Path | None:
    """`seen.npy` of the plmc run that a model folder came from."""
    if name and Path(name).expanduser().is_dir():
        folder = Path(name).expanduser().resolve()
        for candidate in (folder / "seen.npy", folder.parent / "seen.npy"):
            if candidate.is_file():
                return candidate
    return None
