"""Rows of a stage with feeds: each feed tokenised, then one after the other in one split."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from plmc.core.rows import Ragged, Split, TaskData
from plmc.data.masking import IGNORED
from plmc.data.texts import kind_of, read
from plmc.errors import ConfigError, DataError
from plmc.tasks.rows import subset
from plmc.tasks.text import TextTask

if TYPE_CHECKING:
    import datasets

    from plmc.config.resolve import Run
    from plmc.core.stage import Stage
    from plmc.tasks.base import Task
    from plmc.tasks.feed import Feed

MAX_LENGTH = 128
# Keeps the ids of feeds apart: those of the first one stay as they are.
_APART = 1 << 48


@dataclass(frozen=True, kw_only=True)
class PlainText(TextTask):
    """Lines of text without labels: only there to be tokenised."""

    name: str = "corpus"
    text = ("text_a",)
    metrics = ()


def rows(run: Run, stage: Stage, tokenizer: Any, own: TaskData) -> Split:
    """The training rows of a stage with feeds, in the order of the feeds.

    Args:
        own: the rows of the stage's task, tokenised by the student's tokenizer.
    """
    task = run.task_of(stage)
    parts = [_one(run, stage, name, feed, tokenizer, own, task) for name, feed in stage.feeds.items()]
    return parts[0] if len(parts) == 1 else joined(parts, stage.name)


def _one(run: Run, stage: Stage, name: str, feed: Feed, tokenizer: Any, own: TaskData, task: Task) -> Split:
    if feed.corpus is not None:
        lines = _lines(feed.corpus, feed.rows)
        text = task if not task.head.supervised else PlainText(max_length=min(MAX_LENGTH, tokenizer.model_max_length))
        return text.encode(lines, tokenizer, training=True, cache=run.cache)
    if feed.task is None:
        raw, reader = own.training.raw, task
    else:
        reader = feed.task
        splits = run.source_of(reader).load(reader)
        if "train" not in splits:
            raise DataError(f"stage {stage.name}, feed {name}: task {reader.name} has no training rows here.")
        raw = subset(splits["train"], None if reader.own_source is not None else run.budget.train_rows)
    return reader.encode(subset(raw, feed.rows), tokenizer, training=True, cache=run.cache)


def _lines(corpus: str | Sequence[str], count: int | None) -> datasets.Dataset:
    """The lines that are not empty, `count` at most; of a file all of them are read, elsewhere the first `count`."""
    from datasets import Dataset

    found = read(corpus, None if kind_of(corpus) == "local" else count)["train"]["text_a"]
    lines = [line.strip() for line in found if line.strip()]
    lines = lines[:count] if count else lines
    if not lines:
        raise DataError(f"corpus {corpus} holds no text.")
    return Dataset.from_dict({"id": np.arange(len(lines)), "text_a": lines})


def joined(parts: Sequence[Split], stage: str) -> Split:
    """Splits one after the other; `feed` says which each row is of.

    Rows without labels get the label that stands for none: -100, or NaN for scores. A column that only some splits
    have is 0 in the others. Raises ConfigError if tokens are hidden in some of them only.
    """
    draws = [part.draws for part in parts]
    if any(each is None for each in draws) and any(each is not None for each in draws):
        raise ConfigError(f"stage {stage}: in some of its feeds tokens are hidden and in others none are.")
    if draws[0] is not None and any(not each.like(draws[0]) for each in draws[1:]):
        raise ConfigError(
            f"stage {stage}: the tasks of its feeds hide tokens at other rates, or weigh them by how often they occur. "
            "Give all of them the same rate, and smoothing=0."
        )
    columns = {}
    for name in dict.fromkeys(name for part in parts for name in part.columns):
        values = [
            part.columns[name].values if name in part.columns else np.zeros_like(part.columns["input_ids"].values)
            for part in parts
        ]
        columns[name] = _ragged(values, [part.columns.get(name, part.columns["input_ids"]).lengths for part in parts])
    sizes = [len(part) for part in parts]
    starts = np.cumsum([0, *(len(part.raw) for part in parts[:-1])])
    digest = hashlib.sha256(" ".join(part.fingerprint for part in parts).encode()).hexdigest()[:24]
    return Split(
        columns=columns,
        labels=_labels(parts),
        ids=np.concatenate([part.ids + number * _APART for number, part in enumerate(parts)]),
        raw=_texts([part.raw for part in parts], _nothing(parts)),
        source=np.concatenate([part.source + start for part, start in zip(parts, starts, strict=True)]),
        fingerprint=f"feeds-{digest}",
        draws=draws[0],
        feed=np.repeat(np.arange(len(parts)), sizes),
        examples=_examples(parts),
        facts=_facts(parts),
    )


def _examples(parts: Sequence[Split]) -> np.ndarray | None:
    """Where each row's sequences are in the columns of all; None where each has one."""
    if all(part.examples is None for part in parts):
        return None
    sizes = [np.ones(len(part), np.int64) if part.examples is None else np.diff(part.examples) for part in parts]
    return np.concatenate([[0], np.cumsum(np.concatenate(sizes))])


def _facts(parts: Sequence[Split]) -> dict[str, np.ndarray]:
    """The facts that all know; a group of one feed is none of another."""
    names = set.intersection(*(set(part.facts) for part in parts))
    facts = {name: np.concatenate([part.facts[name] for part in parts]) for name in sorted(names - {"group"})}
    if "group" in names:
        groups = [part.facts["group"] for part in parts]
        starts = np.cumsum([0, *(int(group.max(initial=-1)) + 1 for group in groups[:-1])])
        facts["group"] = np.concatenate([group + start for group, start in zip(groups, starts, strict=True)])
    return facts


def _ragged(values: Sequence[np.ndarray], lengths: Sequence[np.ndarray]) -> Ragged:
    return Ragged(np.concatenate(values), np.concatenate([[0], np.cumsum(np.concatenate(lengths))]))


def _nothing(parts: Sequence[Split]) -> Any:
    """The label that stands for none."""
    scores = (isinstance(part.labels, np.ndarray) and part.labels.dtype.kind == "f" for part in parts)
    return np.nan if any(scores) else IGNORED


def _labels(parts: Sequence[Split]) -> np.ndarray | None:
    known = next((part.labels for part in parts if isinstance(part.labels, np.ndarray)), None)
    if known is None:
        return None
    nothing = _nothing(parts)
    given = [
        np.full((len(part), *known.shape[1:]), nothing, dtype=known.dtype) if part.labels is None else part.gold
        for part in parts
    ]
    return np.concatenate(given)


def _texts(raw: Sequence[datasets.Dataset], nothing: Any) -> datasets.Dataset:
    """The rows of all, numbered through. A second text that some lack is empty there, a label `nothing`; of other
    columns those stay that all have."""
    from datasets import concatenate_datasets

    filled = {"text_b": "", "label": nothing}
    there = [set(rows.column_names) for rows in raw]
    names = set.intersection(*there) | (set.union(*there) & set(filled))
    same: list[datasets.Dataset] = []
    for rows in raw:
        for name in names - set(rows.column_names):
            rows = rows.add_column(name, [filled[name]] * len(rows))
        kept = rows.select_columns(sorted(names - {"id"}))
        same.append(kept.cast(same[0].features) if same else kept)
    whole = concatenate_datasets(same)
    return whole.add_column("id", np.arange(len(whole)))


def ready(run: Run, stage: Stage) -> None:
    """Raises now, before anything is trained, if a stage's own rows cannot be had; downloads them."""
    if stage.task is not None and not (not run.task.head.supervised and not stage.task.head.supervised):
        corpus = getattr(stage.task, "corpus", None)
        _reach(corpus) if corpus is not None else run.source_of(stage.task).load(stage.task)
    for feed in stage.feeds.values():
        if feed.corpus is not None:
            _reach(feed.corpus)
        elif feed.task is not None:
            run.source_of(feed.task).load(feed.task)


def _reach(corpus: str | Sequence[str]) -> None:
    if kind_of(corpus) == "hub":
        _lines(corpus, 1)
