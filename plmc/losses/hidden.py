"""Squared error between hidden states of two models."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def hidden_mse(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """MSE(H_S, H_T) of each sentence, averaged over sentences (TinyBERT, Jiao et al. 2019, Eqs. 8 and 9).

    Args:
        student: `(B, T, D)`. With `mask` `(B, T)` the mean of a sentence runs over its real tokens, so that a row's
            loss depends neither on padding nor on its neighbours; without, over all T positions. Each row needs at
            least one real token.
        teacher: see `student`.

    Raises:
        ValueError: on different shapes, which broadcasting would hide.
    """
    if student.shape != teacher.shape:
        raise ValueError(f"hidden_mse: student {tuple(student.shape)}, teacher {tuple(teacher.shape)}: project first")
    if mask is None:
        return F.mse_loss(student, teacher)
    # Outside of mse_loss autocast does not know that a square needs more than half precision.
    wide = torch.promote_types(student.dtype, torch.float32)
    per_token = (student.to(wide) - teacher.to(wide)).square().mean(-1)
    real = mask.to(per_token.dtype)
    return ((per_token * real).sum(-1) / real.sum(-1)).mean()
