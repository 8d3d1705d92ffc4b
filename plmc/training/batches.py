"""Padded batches of rows of similar length, in an order that is a function of (seed, stage, epoch)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from plmc.core.batch import Batch
from plmc.core.rows import Ragged, Split, by_length
from plmc.data.masking import IGNORED, hide_rows
from plmc.training.order import Mix, epoch_order
from plmc.world import World


@dataclass(frozen=True)
class Share:
    """What one process computes of an update: `parts`, its micro-batches, none where the update has fewer rows than
    there are processes; `ids` are those of all rows of the update."""

    parts: list[Batch]
    ids: np.ndarray


def collate(split: Split, rows: np.ndarray, pad_id: int, *, width: int = 0) -> Batch:
    """Pads the rows to the longest of them, or to `width` where that is more."""
    ids = split.columns["input_ids"]
    lengths = ids.offsets[rows + 1] - ids.offsets[rows]
    width = max(width, int(lengths.max()))
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
    world: World | None = None,
    evenly: bool = False,
) -> Iterator[Share]:
    """Endless updates from update number `start` on, as this process of `world` computes them; skipped ones cost no
    reading.

    `mix` makes the order of rows of several feeds. Tokens to guess are drawn over the whole update, as a function of
    (seed, stage, number of the update). `change` makes another batch of all rows of an update, by its number. Processes
    share the rows of an update; each cuts its own into micro-batches, which with `evenly` are all padded to the longest
    row of the update.
    """
    world = world or World()
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
            width = int(lengths[rows].max()) if evenly else 0
            if split.masking:
                parts = _masked(split, rows, seen, pad_id, width, (seed, stage, update))
            else:
                parts = [collate(split, rows[piece], pad_id, width=width) for piece in seen]
            if change is not None:
                parts = _counted(change(parts[0], update)).cut(pieces, evenly=evenly)
            yield Share(parts, split.ids[rows])
        epoch, skip = epoch + 1, 0


def _masked(
    split: Split, rows: np.ndarray, pieces: list[slice], pad_id: int, width: int, key: tuple[int, ...]
) -> list[Batch]:
    """`pieces` of the update's `rows`, with tokens hidden over all of them at once."""
    small = hide_rows(split, rows, key=key)
    guessed = int((small.marks.values != IGNORED).sum())
    per_row = {"masked": guessed / len(rows), "tokens": len(small.marks.values) / len(rows)}
    whole = np.arange(len(rows))
    return [
        replace(collate(small, whole[piece], pad_id, width=width), rows=rows[piece], per_row=per_row)
        for piece in pieces
    ]


def _counted(batch: Batch) -> Batch:
    """With the numbers of masked positions and tokens a row as they are now."""
    if batch.per_row is None:
        return batch
    rows, tokens = len(batch.rows), int(batch.inputs["attention_mask"].sum())
    return replace(batch, per_row={"masked": int((batch.gold != IGNORED).sum()) / rows, "tokens": tokens / rows})


def evaluation_batches(
    split: Split, *, pad_id: int, tokens: int | None = None, turns: int = 1, turn: int = 0
) -> Iterator[Batch]:
    """All rows once, in batches of similar length; see `plmc.core.rows.by_length`. Of `turns` processes that share them
    this one has every `turns`-th batch, from `turn` on."""
    for rows in itertools.islice(by_length(split.lengths, tokens), turn, None, turns):
        yield collate(split, rows, pad_id)
