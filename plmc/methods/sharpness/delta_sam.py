"""Sharpness-aware minimisation that climbs for the rows whose gradient changes most nearby."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from plmc.core.compute import Compute
from plmc.core.fields import NotNegative
from plmc.core.setting import Building
from plmc.losses.reweight import WEIGHTINGS, Nearby
from plmc.methods.sharpness.sam import SAM

_STREAM = 0x64656C7461
"""Keeps these draws apart from others made of the same numbers."""


@dataclass
class DeltaSAM(SAM):
    """SAM whose climb follows a weighted loss: ε = ρ g / ‖g‖₂, g = ∇ Σ c_i l_i(w); the step is SAM's, unweighted.

    c_i grows with how fast row i's gradient changes nearby, which three losses of each row tell, at w and at w ± r in
    one random direction ‖r‖₂ = `radius`, without dropout (δ-SAM, Zhou et al. 2022, arXiv 2112.08772). The paper's text
    was not at hand: known is that rows of larger gradient change get larger weights by three forward passes with
    Gaussian noise. The formulas of `plmc.losses.reweight` are a reconstruction.

    Costs three forward passes more than SAM, and a copy of the noise.

    Attributes:
        radius: null: ten times `rho`. The second difference falls with its square, and below the rounding of float32
            it is noise: metric `signal` says how many roundings of a loss it is (10 and more are needed).
        weighting: `second_difference`, `second_over_first`, `first_difference`, or `uniform`, which is SAM.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"fp32"})

    radius: NotNegative | None = None
    weighting: Literal["second_difference", "second_over_first", "first_difference", "uniform"] = "second_difference"

    def __post_init__(self) -> None:
        self._seed, self._updates = 0, 0
        self._told: dict[str, float] = {}

    def required(self) -> frozenset[str]:
        return self.needs | ({"examples"} if self.weighting != "uniform" else set())

    def prepare(self, model: nn.Module, setting: Building) -> nn.Module:
        self._seed, self._updates, self._told = setting.seed, 0, {}
        return model

    def uphill(self, compute: Compute, params: list[nn.Parameter]) -> Tensor:
        self._updates += 1
        if self.weighting == "uniform":
            return compute()
        losses = self._losses(compute, params)
        weights = WEIGHTINGS[self.weighting](losses)
        self._told = {"rows": float(1 / (len(weights) * weights.square().sum())), "signal": losses.signal}
        compute(weights)
        return losses.here.mean()

    def metrics(self) -> dict[str, float]:
        return self._told

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self._updates, "told": dict(self._told)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._updates, self._told = state["updates"], dict(state["told"])

    def _losses(self, compute: Compute, params: list[nn.Parameter]) -> Nearby:
        """The losses `(E,)` of the update's rows at w, w + r and w - r."""
        here = compute.examples()
        with moved(params, 10 * self.rho if self.radius is None else self.radius, (self._seed, self._updates)) as to:
            to(1.0)
            up = compute.examples()
            to(-1.0)
            return Nearby(here, up, compute.examples())


@contextmanager
def moved(params: list[nn.Parameter], radius: float, key: tuple[int, ...]) -> Iterator[Callable[[float], None]]:
    """Yields `to(sign)`, which puts `params` to w + sign r, where r has the joint length `radius` and a direction that
    hangs on `key` alone; afterwards they are w again, bit for bit."""
    saved = [param.detach().clone() for param in params]
    noise = _noise(params, key)
    scale = radius / get_total_norm(noise)

    @torch.no_grad()
    def to(sign: float) -> None:
        for param, before, direction in zip(params, saved, noise, strict=True):
            param.copy_(before + direction * (sign * scale))

    try:
        yield to
    finally:
        with torch.no_grad():
            for param, before in zip(params, saved, strict=True):
                param.copy_(before)


def _noise(params: list[nn.Parameter], key: tuple[int, ...]) -> list[Tensor]:
    """Normal numbers of the shapes of `params`, from a generator that nothing else draws from."""
    seed = int(np.random.SeedSequence([*key, _STREAM]).generate_state(1, np.uint64)[0] >> np.uint64(1))
    generators = {param.device: torch.Generator(param.device).manual_seed(seed) for param in params}
    return [
        torch.randn(param.shape, generator=generators[param.device], device=param.device, dtype=param.dtype)
        for param in params
    ]
