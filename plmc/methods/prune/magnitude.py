"""Magnitude pruning as pure functions: how much to prune when, and which weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def cubic(progress: float, initial: float, final: float) -> float:
    """Sparsity at `progress` (0 to 1) of the pruning window.

    s = s_f + (s_0 - s_f) (1 - u)³ (Zhu & Gupta 2017, arXiv 1710.01878, Eq. 1), with s_0 > 0 a jump at the first event.
    """
    left = (1 - progress) ** 3
    # As a convex combination both end points come out exact in floating point.
    return initial * left + final * (1 - left)


def scheduled(step: int, begin: int, end: int, *, initial: float, final: float) -> float:
    """Sparsity after `step` updates: 0 before `begin`, then `cubic` up to `end`, then `final`."""
    if step < begin:
        return 0.0
    return cubic((step - begin) / (end - begin) if step < end else 1.0, initial, final)


def keep_largest(scores: Mapping[str, Tensor], sparsity: float, *, ranking: str) -> dict[str, Tensor]:
    """Boolean masks, False on the smallest `scores`; ties fall to the earlier weight.

    `ranking="global"`: exactly round(s N) of the N weights of all tensors together; `"layer"`: round(s n) of each one.
    """
    if ranking == "layer":
        return {name: _keep_largest(score.flatten(), sparsity).view_as(score) for name, score in scores.items()}
    flat = _keep_largest(torch.cat([score.flatten() for score in scores.values()]), sparsity)
    parts = flat.split([score.numel() for score in scores.values()])
    return {name: part.view_as(score) for (name, score), part in zip(scores.items(), parts, strict=True)}


def _keep_largest(flat: Tensor, sparsity: float) -> Tensor:
    count = round(sparsity * flat.numel())
    if count == 0:
        return torch.ones_like(flat, dtype=torch.bool)
    # On the CPU the selection is fast enough for one event and deterministic, which CUDA's kthvalue is not.
    ranked = flat.detach().float().cpu()
    limit = ranked.kthvalue(count).values
    keep = ranked > limit
    ties = (ranked == limit).nonzero().squeeze(1)
    pruned = flat.numel() - int(keep.sum())
    # Of the weights at the limit all but the last few are pruned, so that the count is exact.
    keep[ties[len(ties) - (pruned - count) :]] = True
    return keep.to(flat.device)
