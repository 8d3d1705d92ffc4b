"""Sharpness-aware minimisation: the gradient at the worst point nearby."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from plmc.core.compute import Compute
from plmc.core.fields import NotNegative
from plmc.core.method import Method


@dataclass
class SAM(Method):
    """Replaces the gradient by the one at w + ε, where ε climbs the loss by a step of length `rho`.

    ε = ρ g / (‖g‖₂ + 1e-12), g = ∇L(w), the norm over all parameters jointly; the optimizer steps from w with ∇L(w + ε)
    (Foret et al. 2021, arXiv 2010.01412, Eq. 2 and Alg. 1).

    - The weights are copied back, not subtracted back, so the climb leaves no rounding error.
    - The loss returned is that at w. Non-finite losses and gradients pass through untouched.

    Composes badly with a second method that recomputes the gradient (refused). Listed before a pruning method it climbs
    on the remaining weights only.

    Costs two forward and two backward passes an update and a copy of the weights.

    Attributes:
        adaptive: ε = ρ w² g / ‖|w| g‖₂ element by element (ASAM, Kwon et al. 2021, arXiv 2102.11600).
        same_dropout: both passes draw the same random numbers, so `rho=0` is plain training bit for bit.
    """

    exclusive: ClassVar[frozenset[str]] = frozenset({"gradient"})

    rho: NotNegative = 0.05
    adaptive: bool = False
    same_dropout: bool = True

    def gradient(self, compute: Compute, params: list[nn.Parameter]) -> Tensor:
        with _forked(params, enabled=self.same_dropout):
            loss = self.uphill(compute, params)
        climbed = [param for param in params if param.grad is not None]
        if not climbed or not torch.isfinite(loss).all():
            return loss
        saved = [param.detach().clone() for param in climbed]
        try:
            # False on overflow in half precision: the scaler must see the gradient as it is and skip the step.
            if climb(climbed, self.rho, adaptive=self.adaptive):
                compute()
        finally:
            with torch.no_grad():
                for param, before in zip(climbed, saved, strict=True):
                    param.copy_(before)
        return loss

    def uphill(self, compute: Compute, params: list[nn.Parameter]) -> Tensor:
        """Leaves in `p.grad` the gradient along which the climb goes; returns the loss at w."""
        return compute()


@torch.no_grad()
def climb(params: list[nn.Parameter], rho: float, *, adaptive: bool) -> bool:
    """Moves `params` by ε in place along their gradients; False, and no move, if the gradient is not finite."""
    gradients = [param.grad for param in params if param.grad is not None]
    lengths = [param.abs() * grad for param, grad in zip(params, gradients, strict=True)] if adaptive else gradients
    norm = get_total_norm(lengths)
    if not torch.isfinite(norm):
        return False
    scale = rho / (norm + 1e-12)
    for param, grad in zip(params, gradients, strict=True):
        direction = param.square() * grad if adaptive else grad
        param.add_(direction * scale.to(param.device))
    return True


def _forked(params: list[nn.Parameter], *, enabled: bool) -> AbstractContextManager[None]:
    kinds = {param.device.type for param in params} - {"cpu"}
    devices = sorted({param.device.index or 0 for param in params if param.device.type != "cpu"})
    return torch.random.fork_rng(devices, enabled=enabled, device_type=kinds.pop() if kinds else None)
