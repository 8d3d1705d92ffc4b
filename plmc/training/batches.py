"""Padded batches of rows of similar length, in an order that is a function of (seed, stage, epoch)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from plmc.core.batch import Batch
from plmc.core.rows import Ragged, Split, by_length, drawing
from plmc.data.masking import IGNORED
from plmc.training.order import Mix, epoch_order
from plmc.world import ALONE, World


@dataclass(frozen=True)
class Share:
    """What one process computes of an update.

    Attributes:
        parts: its micro-batches, none where the update has fewer rows than there are processes.
        ids: those of all rows of the update.
        idle: how many micro-batches it has less than another process.
    """

    parts: list[Batch]
    ids: np.ndarray
    idle: int = 0


def collate(split: Split, rows: np.ndarray, pad_id: int, *, width: int = 0) -> Batch:
    """Pads the sequences of the rows to the longest of them, or to `width` where that is more. What has lengths of its
    own is padded to its own longest: columns with 0, labels with -100."""
    sequences = split.sequences(rows)
    lengths = split.columns["input_ids"].sizes(sequences)
    width = max(width, int(lengths.max()))
    real = np.arange(width) < lengths[:, None]
    inputs = {}
    for name, column in split.columns.items():
        filler = pad_id if name == "input_ids" else 0
        inputs[name] = torch.from_numpy(_padded(column, sequences, lengths, width, filler))
    inputs["attention_mask"] = torch.from_numpy(real.astype(np.int64))
    examples = None
    if split.examples is not None:
        examples = np.concatenate([[0], np.cumsum(split.examples[rows + 1] - split.examples[rows])])
    labels = None
    if isinstance(split.labels, Ragged):
        labels = torch.from_numpy(_padded(split.labels, rows, lengths, width, IGNORED))
    elif split.labels is not None:
        labels = torch.from_numpy(np.ascontiguousarray(split.labels[rows]))
    return Batch(inputs, labels, rows, split.ids[rows], examples=examples)


def _padded(column: Ragged, rows: np.ndarray, lengths: np.ndarray, width: int, filler: int) -> np.ndarray:
    """`(len(rows), width)` int64, or as wide as the longest of them where their lengths are not `lengths`."""
    own = column.sizes(rows)
    if not np.array_equal(own, lengths):
        width = int(own.max())
    padded = np.full((len(rows), width), filler, dtype=np.int64)
    padded[np.arange(width) < own[:, None]] = np.concatenate([column[row] for row in rows])
    return padded


def training_batches(
    split: Split,
    *,
    batch_size: int,
    micro_batch: int | None,
    pad_id: int,
    seed: int,
    stage: int,
    start: int,
    mix: Mix | None = None,
    change: Callable[[Batch, int], Batch] | None = None,
    world: World | None = None,
    evenly: bool = False,
) -> Iterator[Share]:
    """Endless updates from update number `start` on, as this process of `world` computes them; skipped ones cost no
    reading.

    `mix` makes the order of rows of several feeds. What `split.draws` makes anew is drawn over the whole update, as a
    function of (seed, stage, number of the update). `change` makes another batch of all rows of an update, by its
    number. Processes share the rows of an update; each cuts its own into micro-batches, which with `evenly` are all
    padded to the longest row of the update.
    """
    world = world or ALONE
    lengths = split.lengths
    per_epoch = -(-len(split) // batch_size)
    order = epoch_order if mix is None else mix.order
    epoch, skip = divmod(start, per_epoch)
    while True:
        for number, rows in enumerate(order(lengths, batch_size, seed=seed, stage=stage, epoch=epoch)[skip:], skip):
            update, own = epoch * per_epoch + number, world.share(len(rows))
            size = micro_batch or max(1, len(own))
            pieces = [slice(i, min(i + size, own.stop)) for i in range(own.start, own.stop, size)]
            # What may change anything must see all rows at once.
            seen = pieces if change is None else [slice(0, len(rows))]
            drawn, among = split, rows
            if split.draws:
                drawn, among = split.draws.draw(split, rows, drawing(seed, stage, update)), np.arange(len(rows))
            sizes = drawn.columns["input_ids"].sizes(drawn.sequences(among))
            width, per_row = int(sizes.max()) if evenly else 0, _per_row(drawn, among)
            parts = [collate(drawn, among[piece], pad_id, width=width) for piece in seen]
            parts = [replace(part, rows=rows[piece], per_row=per_row) for part, piece in zip(parts, seen, strict=True)]
            if change is not None:
                parts = change(parts[0], update).recounted().cut(pieces, evenly=evenly)
            largest = -(-len(rows) // world.size)
            yield Share(parts, split.ids[rows], idle=-(-largest // (micro_batch or largest)) - len(pieces))
        epoch, skip = epoch + 1, 0


def _per_row(split: Split, rows: np.ndarray) -> dict[str, float]:
    """For `Batch.per_row`, of an update of these rows."""
    counts = {"tokens": int(split.columns["input_ids"].sizes(split.sequences(rows)).sum())}
    if isinstance(split.labels, Ragged):
        counts["guessed"] = int((np.concatenate([split.labels[row] for row in rows]) != IGNORED).sum())
    return {name: count / len(rows) for name, count in counts.items()}


def evaluation_batches(
    split: Split, *, pad_id: int, tokens: int | None = None, turns: int = 1, turn: int = 0
) -> Iterator[Batch]:
    """All rows once, in batches of similar length; see `plmc.core.rows.by_length`. Of `turns` processes that share them
    this one has every `turns`-th batch, from `turn` on."""
    for rows in itertools.islice(by_length(split.lengths, tokens), turn, None, turns):
        yield collate(split, rows, pad_id)
