"""Divergence of two distributions over a vocabulary, piece by piece."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_ELEMENTS = 2**20
"""Logits of a piece: 4 MB in float32, which a core's cache holds."""


def token_kl(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 1.0) -> Tensor:
    """`plmc.losses.kl.kd_kl` of each of N positions, `(N,)`, of logits `(N, V)` for a large V, computed in float32.

    The gradient, T (softmax(student / T) - softmax(teacher / T)), is computed along with the loss, a few positions
    at a time: for 2,000 tokens and 30,522 words each tensor that is never made would take 250 MB. The teacher gets no
    gradient.
    """
    return _Pieces.apply(student_logits, teacher_logits.detach(), temperature)


class _Pieces(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        exact = torch.promote_types(student.dtype, torch.float32)
        values = torch.empty(len(student), dtype=exact, device=student.device)
        # fp16 has no room for it before the loss is scaled; bf16 has the range of float32.
        gradient = torch.empty_like(student, dtype=student.dtype if student.dtype == torch.bfloat16 else exact)
        rows = max(1, _ELEMENTS // student.shape[1])
        pieces = [each.split(rows) for each in (student, teacher, values, gradient)]
        for s, t, v, g in zip(*pieces, strict=True):
            log_q = (s.to(exact) / temperature).log_softmax(-1)
            log_p = (t.to(exact) / temperature).log_softmax(-1)
            p = log_p.exp()
            v.copy_((p * log_p.sub_(log_q)).sum(-1))
            g.copy_(log_q.exp_().sub_(p).mul_(temperature))
        ctx.save_for_backward(gradient)
        ctx.dtype = student.dtype
        return values * temperature**2

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return (gradient * upstream[:, None]).to(ctx.dtype), None, None
