"""Cosine distance between hidden states of two models."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def hidden_cosine(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """1 - cos(h_S, h_T) `(N,)` of the N real tokens, row by row (DistilBERT, Sanh et al. 2019, Section 3; its code: the
    last layer).

    Args:
        student: `(B, T, D)`; `mask` `(B, T)`: 1 on real tokens.
        teacher: see `student`.

    Raises:
        ValueError: on different shapes.
    """
    if student.shape != teacher.shape:
        raise ValueError(
            f"hidden_cosine: student {tuple(student.shape)}, teacher {tuple(teacher.shape)}: project first"
        )
    wide = torch.promote_types(student.dtype, torch.float32)
    real = mask.bool()
    return 1 - F.cosine_similarity(student[real].to(wide), teacher[real].to(wide), dim=-1)
