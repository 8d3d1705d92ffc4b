"""Gradual magnitude pruning with learning-rate rewinding, as Prune Once for All prunes a language model."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from plmc.core.clock import Clock, Point
from plmc.core.compute import Compute
from plmc.core.setting import Building, Setting
from plmc.core.shares import Sparsity
from plmc.errors import ConfigError
from plmc.methods.prune.magnitude import scheduled
from plmc.methods.prune.masked import Masked
from plmc.methods.prune.window import above_zero, growing
from plmc.models.encoder import pooler_linear


@dataclass
class GMPRewind(Masked):
    """Prunes the same share of every matrix; pruned weights stay in a dense copy and may return at the next event.

    Sparsity s = s_f - (s_f - s_0) (1 - u)³, u the position between `begin` and `end` (Zhu & Gupta 2017, Eq. 1); of n
    weights the floor(s n) smallest |w| are zero in the forward pass (ties all go). Their gradient is zero; momentum and
    weight decay still move the copy. Learning rate: `rewound_rate` (Zafrir et al. 2021, arXiv 2111.05754, official
    code).

    Composes badly with averaging that begins before `last`. Raises ConfigError on a window that is empty, runs
    backwards or leaves no update after it.

    Attributes:
        begin: the policy.
        end: see `begin`.
        every: distance of events.
        last: from here on the pattern is fixed; between `end` and `last` weights still swap at constant sparsity.
        rewind: period of the rewinding, null leaves the stage's schedule alone.
        warmup: of the rewound rate.
        pooler: counts the pooler's matrix in, where the model has one.
    """

    begin: Point = "0%"
    end: Point = "50%"
    every: Point = "1%"
    last: Point = "80%"
    initial: Sparsity = 0.0
    final: Sparsity = 0.9
    rewind: Point | None = "1%"
    warmup: Point = "1%"
    pooler: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.initial, self.final = growing(self.initial, self.final)
        above_zero("1%", every=self.every, rewind=self.rewind)
        self._dense: dict[str, Tensor] = {}

    def check(self, setting: Setting) -> None:
        if setting.clock is None:
            return
        clock = setting.clock
        begin, end, last = self._window(clock)
        if not begin <= end <= last:
            raise ConfigError(
                f"{self.name}: begin={self.begin} (update {begin}), end={self.end} ({end}) and last={self.last} "
                f"({last}) must follow one another. Set methods.{self.name}.last at or after end"
            )
        if self.rewind is not None and end - begin >= clock.total:
            raise ConfigError(
                f"{self.name}: pruning from {self.begin} to {self.end} leaves no updates in which the rate falls. Set "
                f"methods.{self.name}.end=50%"
            )

    def prepare(self, model: nn.Module, setting: Building) -> nn.Module:
        self._dense = {}
        return super().prepare(model, setting)

    def settled(self, clock: Clock) -> int:
        return self._window(clock)[2] if self.final else 0

    def rate(self, factor: float, clock: Clock) -> float:
        if self.rewind is None:
            return factor
        begin, end, _ = self._window(clock)
        return rewound_rate(
            clock.step, clock.total, warmup=clock.at(self.warmup), begin=begin, end=end, period=clock.at(self.rewind)
        )

    def sparsity(self, clock: Clock) -> float:
        """Target after `clock.step` updates."""
        begin, end, _ = self._window(clock)
        return scheduled(clock.step, begin, end, initial=self.initial, final=self.final)

    def scope(self, model: nn.Module, clock: Clock) -> AbstractContextManager[None]:
        context = super().scope(model, clock)
        # An event at 0 comes before the first update, which no other hook sees.
        if clock.step == 0 and not self._masks and self._event(clock):
            self._prune(clock)
        self._hide()
        return context

    def gradient(self, compute: Compute, params: list[nn.Parameter]) -> Tensor:
        try:
            return super().gradient(compute, params)
        finally:
            self._show()

    def after_update(self, model: nn.Module, clock: Clock) -> None:
        self._bind(model)
        if self._event(clock):
            self._prune(clock)

    def linears(self, model: nn.Module) -> dict[str, nn.Linear]:
        return super().linears(model) | (pooler_linear(model) if self.pooler else {})

    def _window(self, clock: Clock) -> tuple[int, int, int]:
        return clock.at(self.begin), clock.at(self.end), clock.at(self.last)

    def _event(self, clock: Clock) -> bool:
        begin, end, last = self._window(clock)
        return clock.step == end or (begin <= clock.step <= last and (clock.step - begin) % clock.at(self.every) == 0)

    @torch.no_grad()
    def _prune(self, clock: Clock) -> None:
        sparsity = self.sparsity(clock)
        self._set({name: above_smallest(param.detach(), sparsity) for name, param in self._targets.items()})

    @torch.no_grad()
    def _hide(self) -> None:
        """Zeroes what is masked for the passes of this update; the optimizer gets the dense weights back."""
        if not self._dense:
            for name, mask in self._masks.items():
                self._dense[name] = self._targets[name].detach().clone()
                self._targets[name].mul_(mask)

    @torch.no_grad()
    def _show(self) -> None:
        for name, dense in self._dense.items():
            self._targets[name].copy_(dense)
        self._dense = {}


def above_smallest(weight: Tensor, sparsity: float) -> Tensor:
    """Mask that is False on the floor(s n) smallest magnitudes of one matrix and what ties with the largest of
    them."""
    count = math.floor(sparsity * weight.numel() + 1e-9)
    if count == 0:
        return torch.ones_like(weight, dtype=torch.bool)
    # On the CPU the selection is deterministic, which CUDA's kthvalue is not.
    size = weight.float().abs().cpu()
    return (size > size.flatten().kthvalue(count).values).to(weight.device)


def rewound_rate(step: int, total: int, *, warmup: int, begin: int, end: int, period: int) -> float:
    """Learning-rate factor of update `step` (0-based): warm-up, then a linear fall that pruning puts back each
    `period`.

    With T' = T - (p_e - p_s) and W warm-up updates (official code of Zafrir et al. 2021): t / W in the warm-up;
    (T' - t) / (T' - W) before p_s; (T' - t + R floor((t - p_s) / R)) / (T' - W) in [p_s, p_e); (T - t) / (T' - W)
    after.
    """
    length = total - (end - begin)
    warmup = min(warmup, length - 1)  # so that a run of a few updates has a rate, too
    if step < warmup:
        return step / warmup
    if step < begin:
        left = length - step
    elif step < end:
        left = length - step + period * ((step - begin) // period)
    else:
        left = total - step
    return left / (length - warmup)
