"""The rows of a run: loaded, capped, tokenised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from plmc.core.rows import TaskData
from plmc.errors import DataError

if TYPE_CHECKING:
    from plmc.config.resolve import Run
    from plmc.core.stage import Stage
    from plmc.tasks.base import Task

# Subsets are the same for every seed of a run, so that arms and seeds see the same rows.
SUBSET_SEED = 0


def subset(rows, count: int | None):
    """A fixed random part of a `datasets.Dataset`, in its original order; rows of one `group` are in it together, and
    the last group drawn may exceed `count`."""
    if count is None or count >= len(rows):
        return rows
    if "group" in rows.column_names:
        names, group = np.unique(rows["group"], return_inverse=True)
        drawn, sizes = np.random.default_rng(SUBSET_SEED).permutation(len(names)), np.bincount(group)
        before = np.cumsum(sizes[drawn]) - sizes[drawn]
        return rows.select(np.flatnonzero(np.isin(group, drawn[before < count])))
    chosen = np.sort(np.random.default_rng(SUBSET_SEED).permutation(len(rows))[:count])
    return rows.select(chosen)


def load(run: Run, tokenizer, *, splits: tuple[str, ...] | None = None) -> TaskData:
    """Tokenised data of the run's task under its budget.

    Args:
        splits: only these evaluation splits (None = all).
    """
    return _load(run, run.task, tokenizer, run.budget.train_rows, splits)


def of_stage(run: Run, stage: Stage, tokenizer, data: TaskData) -> TaskData:
    """Tokenised data of a stage's task; `data` are those of the run's.

    The budget's training rows are those of `data=`. Text that a stage names has its own number of rows.
    """
    task = run.task_of(stage)
    if stage.task is None:
        return data
    if not run.task.head.supervised and not task.head.supervised:
        return data.with_train(task.encode(data.training.raw, tokenizer, training=True, cache=run.cache))
    return _load(run, task, tokenizer, run.budget.train_rows if task.own_source is None else None)


def _load(run: Run, task: Task, tokenizer, train_rows: int | None, splits: tuple[str, ...] | None = None) -> TaskData:
    source = run.source_of(task)
    raw = source.load(task)
    evaluation = {}
    for name in evaluation_splits(task, raw):
        if splits is None or name in splits:
            rows = subset(raw[name], run.budget.eval_rows)
            evaluation[name] = task.encode(rows, tokenizer, training=False, cache=run.cache)
    train = None
    if "train" in raw:
        train = task.encode(subset(raw["train"], train_rows), tokenizer, training=True, cache=run.cache)
    return TaskData(train=train, evaluation=evaluation, source=source.name)


def evaluation_splits(task, raw) -> list[str]:
    """The names of the splits that judge. Raises DataError if there are none."""
    names = [name for name in raw if name.startswith("validation")]
    if not names:
        raise DataError(f"task {task.name}: the source has no validation rows (splits: {', '.join(raw)}).")
    return names


def row_hashes(split) -> np.ndarray:
    """One 64-bit hash of each raw row's text columns, in their order."""
    import hashlib

    columns = [split.raw[name] for name in ("text_a", "text_b") if name in split.raw.column_names]
    hashes = [
        int.from_bytes(hashlib.blake2b("\x1f".join(texts).encode(), digest_size=8).digest(), "little")
        for texts in zip(*columns, strict=True)
    ]
    return np.array(hashes, dtype=np.uint64)
