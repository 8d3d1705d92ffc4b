"""Cross-entropies of gold labels that need more than `torch.nn.functional.cross_entropy`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def place_cross_entropy(logits: Tensor, places: Tensor, mask: Tensor | None = None) -> Tensor:
    """Cross-entropy `(B,)` of places in a row of T tokens.

    Args:
        logits: `(B, T)`.
        places: `(B,)` int64.
        mask: `(B, T)`, 0 where no place can be chosen.
    """
    if mask is not None:
        logits = logits.masked_fill(mask == 0, torch.finfo(logits.dtype).min)
    return F.cross_entropy(logits, places, reduction="none")


def token_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy `(N,)` over the vocabulary in float32 or finer, 0 for the tokens whose label is -100.

    Args:
        logits: `(N, V)`.
        labels: `(N,)` int64.
    """
    guessed, exact = labels >= 0, torch.promote_types(logits.dtype, torch.float32)
    if bool(guessed.all()):
        return F.cross_entropy(logits.to(exact), labels, reduction="none")
    values = F.cross_entropy(logits[guessed].to(exact), labels[guessed], reduction="none")
    return values.new_zeros(len(labels)).masked_scatter(guessed, values)
