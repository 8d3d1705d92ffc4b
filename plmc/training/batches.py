"""Padded batches of rows of similar length, in an order that is a function of (seed, stage, epoch)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch

from plmc.core.batch import Batch
from plmc.core.rows import Ragged, Split, by_length
from plmc.data.masking import IGNORED, hide_rows
from plmc.training.order import Mix, epoch_order


def collate(split: Split, rows: np.ndarray, pad_id: int) -> Batch:
    """Pads the rows to the longest of them."""
    ids = split.columns["input_ids"]
    lengths = ids.offsets[rows + 1] - ids.offsets[rows]
    width = int(lengths.max())
    real = np.arange(width) < lengths[:, None]
    inputs = {}
    for name, column in split.columns.items():
        padded = np.full((len(rows), width), pad_id if name == "input_ids" else 0, dtype=np.int64)
        padded[real] = np.concatenate([column[row] for row in rows])
        inputs[name] = torch.from_numpy(padded)
    inputs["attention_mask"] = torch.from_numpy(real.astype(np.int64))
    if isinstance(split.labels, Ragged):
        marked = np.full((len(rows), width), IGNORED, dtype=np.int64)
        marked[real] = np.concatenate([split.marks[row] for row in rows])
        return Batch(inputs, torch.from_numpy(marked), rows, split.ids[rows])
    labels = None if split.labels is None else torch.from_numpy(np.ascontiguousarray(split.labels[rows]))
    return Batch(inputs, labels, rows, split.ids[rows])


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
) -> Iterator[list[Batch]]:
    """Endless updates from update number `start` on, each a list of micro-batches; skipped ones cost no reading.

    `mix` makes the order of rows of several feeds. Tokens to guess are drawn over the whole update, as a function of
    (seed, stage, number of the update). `change` makes another batch of all rows of an update, by its number.
    """
    lengths = split.lengths
    per_epoch = -(-len(split) // batch_size)
    order = epoch_order if mix is None else mix.order
    epoch, skip = divmod(start, per_epoch)
    while True:
        for number, rows in enumerate(order(lengths, batch_size, seed=seed, stage=stage, epoch=epoch)[skip:], skip):
            size, update = micro_batch or len(rows), epoch * per_epoch + number
            # What may change anything must see all rows at once.
            seen = size if change is None else len(rows)
            if split.masking:
                parts = _masked(split, rows, seen, pad_id, (seed, stage, update))
            else:
                parts = [collate(split, rows[i : i + seen], pad_id) for i in range(0, len(rows), seen)]
            yield parts if change is None else _counted(change(parts[0], update)).cut(size)
        epoch, skip = epoch + 1, 0


def _masked(split: Split, rows: np.ndarray, size: int, pad_id: int, key: tuple[int, ...]) -> list[Batch]:
    """Micro-batches of the update's `rows`, with tokens hidden over all of them at once."""
    small = hide_rows(split, rows, key=key)
    guessed = int((small.marks.values != IGNORED).sum())
    per_row = {"masked": guessed / len(rows), "tokens": len(small.marks.values) / len(rows)}
    batches = []
    for start in range(0, len(rows), size):
        part = np.arange(start, min(start + size, len(rows)))
        batches.append(replace(collate(small, part, pad_id), rows=rows[part], per_row=per_row))
    return batches


def _counted(batch: Batch) -> Batch:
    """With the numbers of masked positions and tokens a row as they are now."""
    if batch.per_row is None:
        return batch
    rows, tokens = len(batch.rows), int(batch.inputs["attention_mask"].sum())
    return replace(batch, per_row={"masked": int((batch.gold != IGNORED).sum()) / rows, "tokens": tokens / rows})


def evaluation_batches(split: Split, *, pad_id: int, tokens: int | None = None) -> Iterator[Batch]:
    """All rows once, in batches of similar length; see `plmc.core.rows.by_length`."""
    for rows in by_length(split.lengths, tokens):
        yield collate(split, rows, pad_id)
