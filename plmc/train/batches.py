"""The order of training rows, as a function of (seed, stage, epoch), and padded batches of similar length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from plmc.data.types import Split

# Rows are sorted by length inside windows of this many batches, so batches are even and their order stays random.
WINDOW = 50


@dataclass(frozen=True)
class Batch:
    """B rows padded to the longest, T tokens: `inputs` for the model, `labels`, `rows` (indices into the split) and `ids`."""

    inputs: dict[str, torch.Tensor]
    labels: torch.Tensor | None
    rows: np.ndarray
    ids: np.ndarray

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        if device.type == "cpu":
            return self
        inputs = {k: v.to(device, non_blocking=True) for k, v in self.inputs.items()}
        labels = None if self.labels is None else self.labels.to(device, non_blocking=True)
        return Batch(inputs, labels, self.rows, self.ids)


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
    labels = None if split.labels is None else torch.from_numpy(np.ascontiguousarray(split.labels[rows]))
    return Batch(inputs, labels, rows, split.ids[rows])


def epoch_order(lengths: np.ndarray, batch_size: int, *, seed: int, stage: int, epoch: int) -> list[np.ndarray]:
    """Row indices of every batch of an epoch. Each row appears once; only the last window may end in a short batch."""
    rng = np.random.default_rng([seed, stage, epoch])
    order = rng.permutation(len(lengths))
    batches: list[np.ndarray] = []
    window = batch_size * WINDOW
    for start in range(0, len(order), window):
        rows = order[start : start + window]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        batches += [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def training_batches(
    split: Split, *, batch_size: int, micro_batch: int | None, pad_id: int, seed: int, stage: int, start: int,
    rank: int = 0, world: int = 1,
) -> Iterator[list[Batch]]:
    """Endless updates from update number `start` on, each a list of micro-batches of this process.

    A process takes every `world`-th row of the update's batch; skipped updates cost no reading.
    """
    lengths = split.lengths
    per_epoch = -(-len(split) // batch_size)
    epoch, skip = divmod(start, per_epoch)
    while True:
        for rows in epoch_order(lengths, batch_size, seed=seed, stage=stage, epoch=epoch)[skip:]:
            # Padding by repetition keeps processes in step when a last batch is smaller than the number of processes.
            mine = rows[rank::world] if len(rows) > rank else rows[:1]
            size = micro_batch or len(mine)
            yield [collate(split, mine[i : i + size], pad_id) for i in range(0, len(mine), size)]
        epoch, skip = epoch + 1, 0


def evaluation_batches(split: Split, *, tokens: int, pad_id: int) -> Iterator[Batch]:
    """All rows once, sorted by length, as many as fit into `tokens` padded tokens a batch."""
    order = np.argsort(split.lengths, kind="stable")
    lengths = split.lengths
    start = 0
    while start < len(order):
        end = start + 1
        while end < len(order) and lengths[order[end]] * (end + 1 - start) <= tokens:
            end += 1
        yield collate(split, order[start:end], pad_id)
        start = end
