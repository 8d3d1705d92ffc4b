"""Loss and gradient of one update, as often as its methods ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn

from plmc.core.clock import Clock
from plmc.errors import TrainingError
from plmc.models.modes import evaluating
from plmc.training.batches import Share
from plmc.training.gradient import add_up
from plmc.training.objective import Objective
from plmc.training.scale import LossScale
from plmc.world import ALONE, World

Check = Callable[[Mapping[str, Tensor]], None]
"""Looks at the loss terms of a batch, whose graph is still there."""


class Computed:
    """A `plmc.core.compute.Compute` over an update, of which this process computes the micro-batches of `share`.

    `terms` are the unweighted loss terms of the first pass, means over the update; methods observe that pass. With
    several processes, loss, terms and gradients are those of all rows of the update in each of them.
    """

    def __init__(
        self,
        objective: Objective,
        share: Share,
        clock: Clock,
        *,
        params: Sequence[nn.Parameter],
        zero: Callable[[], None],
        scale: LossScale,
        world: World | None = None,
        check: Check | None = None,
    ):
        self.objective, self.parts, self.idle, self.clock = objective, share.parts, share.idle, clock
        self.params, self.zero, self.scale = params, zero, scale
        self.world, self.rows = world or ALONE, len(share.ids)
        self.terms: dict[str, Tensor] = {}
        self._check, self._passes = check, 0

    def __call__(self, weights: Tensor | None = None) -> Tensor:
        self.zero()
        first, self._passes = not self._passes, self._passes + 1
        clock = self.clock if first else replace(self.clock, repeated=True)
        own = [None] * len(self.parts) if weights is None else self._split(weights)
        total, terms = torch.zeros((), device=self.params[0].device), dict[str, Tensor]()
        for part, given in zip(self.parts, own, strict=True):
            share = len(part.rows) / self.rows
            check, self._check = self._check, None
            # The check walks the graph once a term, which compiled blocks do not allow.
            with torch.compiler.set_stance("force_eager") if check else nullcontext():
                loss, found = self.objective(part, clock, first=first, weights=given)
            if check:
                check(found)
                self.zero()
            (loss * (share * self.scale.value)).backward()
            total = total + loss.detach() * share
            for name, term in found.items():
                value = term.detach() * share
                terms[name] = terms[name] + value if name in terms else value
        self._keep_up()
        if self.world.size > 1:
            names = sorted(self.objective.chain.terms(clock))
            total, terms = add_up(self.params, total, terms, names, world=self.world)
        if first:
            self.terms = terms
        self.scale.undo(self.params)
        return total

    def examples(self) -> Tensor:
        clock = replace(self.clock, repeated=True)
        with torch.no_grad(), evaluating(self.objective):
            found = [self.objective.examples(part, clock).float() for part in self.parts]
            self._keep_up()
        if any(part.ndim == 0 for part in found):
            raise TrainingError("no loss of this stage is known for each row, only for the batch as a whole.")
        values = torch.zeros(self.rows, device=self.params[0].device)
        own = self.world.share(self.rows)
        values[own.start : own.stop] = torch.cat([values[:0], *found])
        self.world.join(values, "sum")
        return values

    def _keep_up(self) -> None:
        for _ in range(self.idle):
            self.objective.idle()

    def _split(self, weights: Tensor) -> list[Tensor]:
        """For each part the weights of its rows, 1 on average over the update if they sum to 1."""
        if weights.shape != (self.rows,):
            raise ValueError(f"{tuple(weights.shape)} weights for {self.rows} rows")
        own = self.world.share(self.rows)
        mine = (weights * self.rows)[own.start : own.stop]
        return list(mine.split([len(part.rows) for part in self.parts]))
