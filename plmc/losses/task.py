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
    """Cross-entropy over the vocabulary in float32 or finer, mean over the tokens whose label is not -100; else 0.

    Args:
        logits: `(N, V)`.
        labels: `(N,)` int64.
    """
    # A sum over a count, for a micro-batch may have nothing to guess.
    guessed = labels >= 0
    chosen = logits if bool(guessed.all()) else logits[guessed]
    chosen = chosen.to(torch.promote_types(chosen.dtype, torch.float32))
    return F.cross_entropy(chosen, labels[guessed], reduction="sum") / guessed.sum().clamp(min=1)
