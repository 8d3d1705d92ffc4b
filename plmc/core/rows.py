"""Tokenised examples: ragged columns in one flat array each, with stable ids and what else is known of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from plmc.errors import DataError

if TYPE_CHECKING:
    import datasets

# Padded tokens of an evaluation batch: large enough to keep the cores busy, small enough for any machine.
TOKENS = 4096


@dataclass(frozen=True)
class Ragged:
    """Rows of different lengths: row i is `values[offsets[i]:offsets[i + 1]]`. May be memory-mapped."""

    values: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Number of entries of each row, `(N,)`."""
        return np.diff(self.offsets)

    def sizes(self, rows: np.ndarray) -> np.ndarray:
        """Number of entries of these rows, without a look at the others."""
        return self.offsets[rows + 1] - self.offsets[rows]


# Keeps these draws apart from others made of the same numbers.
_STREAM = 0x6D6C6D


def drawing(*key: int) -> np.random.Generator:
    """What `Draws.draw` draws from: a generator that hangs on `key` alone."""
    return np.random.default_rng([_STREAM, *key])


class Draws(Protocol):
    """Rows that are made anew for every update: other tokens to guess, other demonstrations in a prompt."""

    def draw(self, split: Split, rows: np.ndarray, rng: np.random.Generator) -> Split:
        """The rows `rows` of `split`, in that order, as a split of their own without draws; they may have other
        lengths. A function of these rows and of `rng` alone, over all of them at once."""
        ...

    def like(self, other: Draws) -> bool:
        """Whether both make the same of any rows."""
        ...


@dataclass(frozen=True)
class Split:
    """N tokenised rows of one split. A row is an example: one sequence of tokens, or several that stay together.

    Attributes:
        columns: `input_ids`, and `token_type_ids` where the model's tokenizer makes them (no attention mask: every
            stored token is real), one list a sequence; others may have lengths of their own.
        labels: `(N,)` int64 or float32, `(N, 2)` int64 for spans, ragged with one a token for masked language models,
            None if unknown.
        ids: `(N,)` int64, stable over runs, unique in the split.
        raw: the text rows (`datasets.Dataset`) that predictions and submissions refer to; row i came from
            `raw[source[i]]` (long SQuAD contexts become several rows). `fingerprint` changes whenever any of the above
            does.
        extra: further columns the task needs to turn logits into answers (SQuAD: offsets).
        draws: makes the rows anew for every training batch.
        feed: `(N,)` int64, the number of the feed that each row is of; None: there is one.
        examples: `(N + 1,)` int64: row i is the sequences `examples[i]` to `examples[i + 1]`; None: one each.
        facts: `(N,)` each, by name, such as `group`: rows of one value belong together, so that parts of the rows and
            significance tests draw whole groups.
    """

    columns: Mapping[str, Ragged]
    labels: np.ndarray | Ragged | None
    ids: np.ndarray
    raw: datasets.Dataset
    source: np.ndarray
    fingerprint: str
    extra: Mapping[str, Ragged] = field(default_factory=dict)
    draws: Draws | None = None
    feed: np.ndarray | None = None
    examples: np.ndarray | None = None
    facts: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def marks(self) -> Ragged:
        """`labels` with one a token. Raises TypeError for rows without such."""
        if not isinstance(self.labels, Ragged):
            raise TypeError("these rows have no label for each token")
        return self.labels

    @property
    def gold(self) -> np.ndarray:
        """`labels` with one a row. Raises TypeError for rows without such."""
        if not isinstance(self.labels, np.ndarray):
            raise TypeError("these rows have no labels")
        return self.labels

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, `(N,)`; of several sequences those of the longest."""
        lengths = self.columns["input_ids"].lengths
        return lengths if self.examples is None else np.maximum.reduceat(lengths, self.examples[:-1])

    def sequences(self, rows: np.ndarray) -> np.ndarray:
        """The sequences of these rows, one row after the other."""
        if self.examples is None:
            return rows
        return np.concatenate([np.arange(self.examples[row], self.examples[row + 1]) for row in rows])


@dataclass(frozen=True)
class TaskData:
    """Tokenised splits of a task. `evaluation` is in the order of reporting; the first decides what is best.

    Attributes:
        source: `hub`, `local`, `embedded` or `custom`. `train` is None for a task that ships no training rows.
    """

    train: Split | None
    evaluation: Mapping[str, Split]
    source: str

    @property
    def training(self) -> Split:
        """`train`. Raises DataError for a task that ships none."""
        if self.train is None:
            raise DataError("the task has no training rows")
        return self.train

    def with_train(self, train: Split) -> TaskData:
        """The same data with other training rows."""
        return replace(self, train=train)


def by_length(lengths: np.ndarray, tokens: int | None = None) -> Iterator[np.ndarray]:
    """All rows once, as indices in batches of similar length, as many as fit into `tokens` padded tokens a batch."""
    tokens = TOKENS if tokens is None else tokens
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        end = start + 1
        while end < len(order) and lengths[order[end]] * (end + 1 - start) <= tokens:
            end += 1
        yield order[start:end]
        start = end
