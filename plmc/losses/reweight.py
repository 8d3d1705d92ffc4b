"""Weights of rows by how their losses change nearby, from three losses of each row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

TINY = 1e-12


@dataclass(frozen=True)
class Nearby:
    """Losses `(E,)` of E rows at w, at w + r and at w - r."""

    here: Tensor
    up: Tensor
    down: Tensor

    @property
    def second(self) -> Tensor:
        """|l(w + r) + l(w - r) - 2 l(w)|: |rᵀ H r| to fourth order in r."""
        return (self.up.double() + self.down.double() - 2 * self.here.double()).abs()

    @property
    def first(self) -> Tensor:
        """½ |l(w + r) - l(w - r)|: |rᵀ ∇l| to third order in r."""
        return (self.up.double() - self.down.double()).abs() / 2

    @property
    def signal(self) -> float:
        """The median second difference in roundings of a loss in float32."""
        rounding = torch.finfo(torch.float32).eps * self.here.double().abs().mean()
        return float(self.second.median() / rounding.clamp(min=TINY))


def second_difference(losses: Nearby) -> Tensor:
    """c_i ∝ δ_i, the second difference."""
    return _shares(losses.second)


def second_over_first(losses: Nearby) -> Tensor:
    """c_i ∝ δ_i / (γ_i + mean γ), γ the first difference: rows of large gradients get no more for that."""
    first = losses.first
    return _shares(losses.second / (first + first.mean()).clamp(min=TINY))


def first_difference(losses: Nearby) -> Tensor:
    """c_i ∝ |l_i(w + r) - l_i(w)|."""
    return _shares((losses.up.double() - losses.here.double()).abs())


def _shares(values: Tensor) -> Tensor:
    """`values` over their sum, in float32; equal shares where there is next to nothing."""
    total = values.sum()
    if not total > TINY:  # not a number, too
        return torch.full_like(values, 1 / len(values), dtype=torch.float32)
    return (values / total).float()


WEIGHTINGS: Mapping[str, Callable[[Nearby], Tensor]] = {
    "second_difference": second_difference,
    "second_over_first": second_over_first,
    "first_difference": first_difference,
}
