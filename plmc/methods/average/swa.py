"""Stochastic weight averaging over updates at a constant learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from plmc.core.clock import Clock, Point
from plmc.core.fields import Count, NotNegative
from plmc.core.method import Method
from plmc.core.setting import Building, Setting
from plmc.errors import ConfigError


@dataclass
class SWA(Method):
    """Judges and exports the mean of the weights that training visits from `begin` on.

    w_avg = (n w_avg + w) / (n + 1) (Izmailov et al. 2018, arXiv 1803.05407, Alg. 1), over updates and at a constant
    learning rate as Lu et al. 2022 (arXiv 2212.05956) do for language models. With T_0 = `begin`, the weights after
    update t (counted from 0) count if t >= T_0 and (t - T_0) mod `every` = 0.

    - The mean is held in float32: one more copy of the weights, on their device.
    - Watches only: live weights, losses and random numbers are those of a run without it at the same learning rate.

    Composes badly with pruning that has not settled at `begin` and with a method listed later that sets the learning
    rate; both raise ConfigError, as does a second averager.

    Attributes:
        lr: learning rate from `begin` on, as a multiple of the base rate; null is 1.
    """

    order: ClassVar[int] = 1
    exclusive: ClassVar[frozenset[str]] = frozenset({"average"})

    begin: Point = "75%"
    every: Count = 1
    lr: NotNegative | None = None

    def __post_init__(self) -> None:
        self._count = 0
        # Tied weights have two names and one mean.
        self._mean: dict[str, Tensor] = {}
        self._alias: dict[str, str] = {}

    def check(self, setting: Setting) -> None:
        clock = setting.clock
        if clock is None:
            return
        begin = clock.at(self.begin)
        if begin >= clock.total:
            raise ConfigError(
                f"{self.name}: begin={self.begin} leaves no update to average in {clock.total}. "
                f"Set methods.{self.name}.begin=75%"
            )
        later = False
        for name, method in setting.methods.items():
            later = later or method is self
            if method is self:
                continue
            settled = method.settled(clock)
            if settled > begin:
                share = math.ceil(100 * settled / clock.total)
                cure = f"Set methods.{self.name}.begin={share}%" if share < 100 else f"Let {name} end earlier."
                raise ConfigError(
                    f"{self.name}: averaging begins at update {begin}, but {name} changes which weights are zero until "
                    f"update {settled}; the mean would not be sparse. {cure}"
                )
            if later and any(
                method.rate(self._factor, replace(clock, step=step)) != self._factor
                for step in (begin, (begin + clock.total) // 2, clock.total - 1)
            ):
                raise ConfigError(
                    f"{self.name}: {name} is listed later and overrides the constant learning rate. "
                    f"List {self.name} after it: method=[{name},{self.name}]"
                )

    def prepare(self, model: nn.Module, setting: Building) -> nn.Module:
        self._count, self._mean, self._alias = 0, {}, {}
        return model

    def settled(self, clock: Clock) -> int:
        # Weights from before the first mean are not what the method is for, however well they score.
        return clock.at(self.begin) + 1

    @property
    def _factor(self) -> float:
        return 1.0 if self.lr is None else float(self.lr)

    def rate(self, factor: float, clock: Clock) -> float:
        return self._factor if clock.step >= clock.at(self.begin) else factor

    @torch.no_grad()
    def after_update(self, model: nn.Module, clock: Clock) -> None:
        # clock.step counts the update just made; updates are numbered from 0.
        since = clock.step - 1 - clock.at(self.begin)
        if since < 0 or since % self.every:
            return
        self._count += 1
        first: dict[int, str] = {}
        for name, param in model.named_parameters(remove_duplicate=False):
            if not param.is_floating_point():
                continue
            self._alias[name] = first.setdefault(id(param), name)
            if self._alias[name] != name:
                continue
            if self._count == 1:
                self._mean[name] = param.detach().to(torch.float32, copy=True)
            else:
                mean = self._mean[name] = self._mean[name].to(param.device)
                mean.add_((param.float() - mean) / self._count)

    def weights(self, params: Mapping[str, Tensor], clock: Clock) -> Mapping[str, Tensor]:
        if self._count == 0:
            return params
        means = {name: self._mean[source] for name, source in self._alias.items() if name in params}
        return {
            name: means[name].to(value.device, value.dtype, copy=True) if name in means else value
            for name, value in params.items()
        }

    def metrics(self) -> dict[str, float]:
        return {"averaged": float(self._count)}

    def state_dict(self) -> dict[str, Any]:
        # A copy: the running mean changes in place after a checkpoint has been taken.
        return {
            "count": self._count,
            "alias": dict(self._alias),
            "mean": {name: mean.clone() for name, mean in self._mean.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._count = state["count"]
        self._alias = dict(state["alias"])
        self._mean = {name: mean.clone() for name, mean in state["mean"].items()}
