"""Losses between two distributions over classes (or over token positions), given as logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def tempered_log_probs(logits: Tensor, *, temperature: float = 1.0, mask: Tensor | None = None) -> Tensor:
    """Logarithm of softmax(logits / T) over the last axis, `(B, C)`.

    Where `mask` `(B, C)` is 0 the probability is 0 and the gradient vanishes. The value there is finite, so that
    p log p stays 0 and not nan.
    """
    scaled = logits / temperature
    if mask is not None:
        scaled = scaled.masked_fill(mask == 0, torch.finfo(scaled.dtype).min)
    return F.log_softmax(scaled, dim=-1)


def kd_kl(
    student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 1.0, mask: Tensor | None = None
) -> Tensor:
    """Knowledge distillation loss of Hinton et al. 2015 (arXiv 1503.02531, Section 2), as a divergence.

    `(B,)`: T² · Σ_c p_c (log p_c - log q_c), p = softmax(teacher / T), q = softmax(student / T). Logits and `mask`
    (1 where a class or position may be chosen) are `(B, C)`. The factor T² keeps the size of the gradient as T
    grows. Differs from the paper's cross-entropy by the teacher's entropy only: same gradient, and 0 at equality.
    """
    log_p = tempered_log_probs(teacher_logits, temperature=temperature, mask=mask)
    log_q = tempered_log_probs(student_logits, temperature=temperature, mask=mask)
    return temperature**2 * F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)


def soft_cross_entropy(
    student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 1.0, mask: Tensor | None = None
) -> Tensor:
    """Cross-entropy of the student under the teacher's distribution (TinyBERT, Jiao et al. 2019, Eq. 10).

    `(B,)`: -Σ_c softmax(teacher / t)_c log softmax(student / t)_c, no factor t². Logits and `mask` (1 where a
    class or position may be chosen) are `(B, C)`. At equality it is the teacher's entropy, not 0.
    """
    p = tempered_log_probs(teacher_logits, temperature=temperature, mask=mask).exp()
    log_q = tempered_log_probs(student_logits, temperature=temperature, mask=mask)
    return -(p * log_q).sum(-1)
