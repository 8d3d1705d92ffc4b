"""From a task and a source to tokenised splits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plmc.data.types import TaskData
from plmc.errors import DataError
from plmc.tasks.base import Source, Task


def load_task(
    task: Task,
    source: Source,
    tokenizer: Any,
    *,
    train: bool = True,
    evaluation: Sequence[str] | None = None,
    cache: Path | None = None,
) -> TaskData:
    """Loads and tokenises a task from `source` (or from the files it brings along).

    `train`: training rows are wanted. `evaluation`: the splits to evaluate on, in order of reporting; None takes all
    that begin with `validation`. `cache`: folder for the tokens, shared by all runs.

    Raises DataError if a split that is wanted is not there.
    """
    source = task.own_source or source
    rows = source.load(task)
    found = ", ".join(rows) or "none"
    if train and "train" not in rows:
        raise DataError(
            f"{task.name} has no training rows in data={source.name} (splits there: {found}). It can be evaluated; "
            f"to train, {_more_rows(source)}."
        )
    names = list(evaluation) if evaluation is not None else [name for name in rows if name.startswith("validation")]
    missing = [name for name in names if name not in rows]
    if missing or not names:
        wanted = ", ".join(missing) or "validation"
        raise DataError(f"{task.name} has no {wanted} rows in data={source.name}; splits there: {found}.")

    def encoded(name: str):
        return task.encode(rows[name], tokenizer, training=name == "train", cache=cache)

    return TaskData(
        train=encoded("train") if train else None,
        evaluation={name: encoded(name) for name in names},
        source=source.name,
    )


def _more_rows(source: Source) -> str:
    return {
        "custom": "name a file: task.train=FILE",
        "local": "put train.tsv beside the others, name a file with data.files.train=FILE, or use data=hub",
    }.get(source.name, "choose another source: data=hub, or data=local data.root=DIR")
