"""Squared error between the attention scores (before mask and softmax) of two models."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def attention_score_mse(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """(1/h) Σ_i MSE(A_S^i, A_T^i) of each sentence, averaged over sentences (TinyBERT, Jiao et al. 2019, Eq. 7).

    Args:
        student: scores Q Kᵀ/√d, `(B, H, T, T)`, queries before keys. With `mask` `(B, T)` the mean of a sentence runs
            over its l x l pairs of real tokens; without, over all T x T. Each row needs at least one real token.
        teacher: see `student`.

    Raises:
        ValueError: on different shapes, which broadcasting would hide.
    """
    if student.shape != teacher.shape:
        raise ValueError(f"attention_score_mse: student {tuple(student.shape)}, teacher {tuple(teacher.shape)}")
    if mask is None:
        return F.mse_loss(student, teacher)
    # Outside of mse_loss autocast does not know that a square needs more than half precision.
    wide = torch.promote_types(student.dtype, torch.float32)
    per_pair = (student.to(wide) - teacher.to(wide)).square().mean(1)
    real = mask.to(per_pair.dtype)
    pairs = real[:, :, None] * real[:, None, :]
    return ((per_pair * pairs).sum((1, 2)) / pairs.sum((1, 2))).mean()


def unpadded_columns(scores: Tensor, mask: Tensor) -> Tensor:
    """`scores` `(B, H, T, T)` with 0 in the columns (keys) that `mask` `(B, T)` marks as padding.

    In the official code of TinyBERT the scores carry the additive mask and everything at or below -100 becomes 0; on
    scores without the mask that is this (unless a real score is below -100).
    """
    return scores.masked_fill(mask[:, None, None, :] == 0, 0.0)
