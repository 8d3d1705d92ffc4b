"""The loss of plain fine-tuning, by kind of task."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def task_loss(kind: str, logits: Sequence[Tensor], labels: Tensor, mask: Tensor | None = None) -> Tensor:
    """Loss of `logits` (one tensor per head) against gold labels, a mean over the B rows.

    `classification`: cross-entropy of `(B, C)` and labels `(B,)`. `regression`: squared error of `(B, 1)` and scores
    `(B,)`. `span`: mean of the cross-entropies of start and end, two of `(B, T)`, and labels `(B, 2)`. Positions where
    `mask` `(B, T)` is 0 cannot be chosen as start or end: otherwise the loss of a row would depend on the length of its
    neighbours in the batch. `mlm`: cross-entropy of `(N, V)` and labels `(N,)`, the mean over those that are not -100.
    Errors: ValueError on an unknown kind.
    """
    if kind == "mlm":
        # A sum over a count, for a micro-batch may have nothing to guess.
        guessed = labels >= 0
        chosen = logits[0] if bool(guessed.all()) else logits[0][guessed]
        chosen = chosen.to(torch.promote_types(chosen.dtype, torch.float32))
        return F.cross_entropy(chosen, labels[guessed], reduction="sum") / guessed.sum().clamp(min=1)
    if kind == "classification":
        return F.cross_entropy(logits[0], labels)
    if kind == "regression":
        return F.mse_loss(logits[0].squeeze(-1), labels.to(logits[0].dtype))
    if kind == "span":
        heads = [_closed(head, mask) for head in logits]
        return sum(F.cross_entropy(head, labels[:, i]) for i, head in enumerate(heads)) / len(heads)
    raise ValueError(f"task_loss knows classification, regression, span and mlm, not {kind!r}")


def _closed(positions: Tensor, mask: Tensor | None) -> Tensor:
    return positions if mask is None else positions.masked_fill(mask == 0, torch.finfo(positions.dtype).min)
