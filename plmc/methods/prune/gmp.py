"""Gradual magnitude pruning with a first jump and a saw-tooth learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from plmc.core.clock import Clock, Point
from plmc.core.compute import Compute
from plmc.core.fields import Share
from plmc.core.setting import Building, Setting
from plmc.core.shares import Sparsity
from plmc.errors import ConfigError
from plmc.methods.prune.hold import hold
from plmc.methods.prune.magnitude import keep_largest, scheduled
from plmc.methods.prune.masked import Masked
from plmc.methods.prune.window import above_zero, due, growing


@dataclass
class GMP(Masked):
    """Zeroes the smallest weights step by step; what is pruned stays pruned.

    Sparsity: s = s_f + (s_0 - s_f)(1 - u)³, u the position between `begin` and `end` (Zhu & Gupta 2017, Eq. 1); the
    first event removes `initial` at once (Kurtic & Alistarh 2022, arXiv 2210.06384). Score: |w|. Learning rate with
    `cycle`: falls linearly from 1 to `lr_end_factor` of the base rate and starts again; replaces the stage's schedule.

    Composes badly with averaging that begins before `end`. Raises ConfigError on a window that is empty or runs
    backwards.

    Attributes:
        begin: pruning window; an event at update s happens once s updates are done. Equal: one-shot at `final`.
        end: see `begin`.
        every: distance of events.
        initial: sparsity over the six Linear weights of each block.
        final: see `initial`.
        ranking: `global` (all weights compete) or `layer` (the same sparsity in every tensor).
        cycle: length of a tooth, or null to leave the learning rate alone.
        reintroduction: pruned weights go on learning in a dense copy and may return until `end`.
    """

    begin: Point = "10%"
    end: Point = "70%"
    every: Point = "1%"
    initial: Sparsity = 0.5
    final: Sparsity = 0.9
    ranking: Literal["global", "layer"] = "global"
    cycle: Point | None = None
    lr_end_factor: Share = 0.01
    reintroduction: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.initial, self.final = growing(self.initial, self.final)
        above_zero("1%", every=self.every, cycle=self.cycle)
        self._copy: dict[str, Tensor] = {}
        self._opened = False

    def check(self, setting: Setting) -> None:
        if setting.clock is not None:
            self._window(setting.clock)

    def prepare(self, model: nn.Module, setting: Building) -> nn.Module:
        self._opened, self._copy = False, {}
        return super().prepare(model, setting)

    def settled(self, clock: Clock) -> int:
        # Nothing to prune, nothing to wait for.
        return self._window(clock)[1] if self.final else 0

    def rate(self, factor: float, clock: Clock) -> float:
        if self.cycle is None:
            return factor
        return saw_tooth(clock.step, clock.at(self.cycle), clock.total, self.lr_end_factor)

    def sparsity(self, clock: Clock) -> float:
        """Target after `clock.step` updates."""
        begin, end = self._window(clock)
        return scheduled(clock.step, begin, end, initial=self.initial, final=self.final)

    def scope(self, model: nn.Module, clock: Clock) -> AbstractContextManager[None]:
        context = super().scope(model, clock)
        # An event at 0 comes before the first update, which no other hook sees; an update may run many forwards.
        if clock.step == 0 and not self._opened and self._event(clock):
            self._prune(clock)
            self._opened = True
        return context

    def gradient(self, compute: Compute, params: list[nn.Parameter]) -> Tensor:
        # The dense copy learns from the gradient of the pruned weights.
        return compute() if self._copy else super().gradient(compute, params)

    def after_update(self, model: nn.Module, clock: Clock) -> None:
        self._bind(model)
        if self._event(clock):
            self._prune(clock)
        elif self._copy:
            self._split(self._dense(), settled=False)
        else:
            hold(self._targets, self._masks)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "copy": dict(self._copy)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._copy = dict(state["copy"])

    def _window(self, clock: Clock) -> tuple[int, int]:
        begin, end = clock.at(self.begin), clock.at(self.end)
        if begin > end:
            raise ConfigError(
                f"{self.name}: pruning begins at {self.begin} (update {begin}) but ends at {self.end} (update {end}). "
                f"Set methods.{self.name}.begin below methods.{self.name}.end"
            )
        return begin, end

    def _event(self, clock: Clock) -> bool:
        begin, end = self._window(clock)
        step, period = clock.step, clock.at(self.every)
        return step == begin or due(step, begin, end, period)

    @torch.no_grad()
    def _prune(self, clock: Clock) -> None:
        dense = self._dense()
        scores = {name: weight.abs() for name, weight in dense.items()}
        if not self.reintroduction:
            # Below every magnitude: what is pruned is pruned first again, so supports are nested.
            for name, mask in self._masks.items():
                scores[name].masked_fill_(~mask, -1.0)
        self._set(keep_largest(scores, self.sparsity(clock), ranking=self.ranking))
        self._split(dense, settled=clock.step >= self._window(clock)[1])

    @torch.no_grad()
    def _dense(self) -> dict[str, Tensor]:
        # A pruned weight is zero before the step, so what the optimizer made of it is its update.
        return {
            name: param + self._copy[name].to(param.device) if name in self._copy else param.detach()
            for name, param in self._targets.items()
        }

    @torch.no_grad()
    def _split(self, dense: Mapping[str, Tensor], *, settled: bool) -> None:
        if self.reintroduction:
            kept = {} if settled else {name: dense[name].masked_fill(mask, 0) for name, mask in self._masks.items()}
            for name, param in self._targets.items():
                param.copy_(dense[name])
            self._copy = kept
        hold(self._targets, self._masks)


def saw_tooth(step: int, cycle: int, total: int, end: float) -> float:
    """Learning-rate factor at `step` of `total`: 1 on the first update of each cycle, `end` on its last.

    lr = lr_0 - (lr_0 - lr_1) p / (C - 1), p the position in a cycle of C updates (`cyclic_linear` of SparseML); a last
    cycle that the end of the stage cuts short is compressed, so that it reaches `end`, too.
    """
    step = min(step, total - 1)
    position = step % cycle
    length = min(cycle, total - (step - position))
    # A last cycle of a single update is all end: training should not close on a jump up.
    done = position / (length - 1) if length > 1 else float(cycle > 1)
    return (1 - done) + done * end
