"""Loss and gradient of one update, as often as its methods ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn

from plmc.core.batch import Batch
from plmc.core.clock import Clock
from plmc.errors import TrainingError
from plmc.models.modes import evaluating
from plmc.training.objective import Objective
from plmc.training.scale import LossScale

Check = Callable[[Mapping[str, Tensor]], None]
"""Looks at the loss terms of a batch, whose graph is still there."""


class Computed:
    """A `plmc.core.compute.Compute` over the micro-batches `parts` of an update.

    `terms` are the unweighted loss terms of the first pass, means over the update; methods observe that pass.
    """

    def __init__(
        self,
        objective: Objective,
        parts: Sequence[Batch],
        clock: Clock,
        *,
        params: Sequence[nn.Parameter],
        zero: Callable[[], None],
        scale: LossScale,
        check: Check | None = None,
    ):
        self.objective, self.parts, self.clock = objective, parts, clock
        self.params, self.zero, self.scale = params, zero, scale
        self.rows = sum(len(part.rows) for part in parts)
        self.terms: dict[str, Tensor] = {}
        self._check, self._passes = check, 0

    def __call__(self, weights: Tensor | None = None) -> Tensor:
        self.zero()
        first, self._passes = not self._passes, self._passes + 1
        clock = self.clock if first else replace(self.clock, repeated=True)
        own = [None] * len(self.parts) if weights is None else self._split(weights)
        total: Tensor | None = None
        for part, given in zip(self.parts, own, strict=True):
            share = len(part.rows) / self.rows
            check, self._check = self._check, None
            # The check walks the graph once a term, which compiled blocks do not allow.
            with torch.compiler.set_stance("force_eager") if check else nullcontext():
                loss, terms = self.objective(part, clock, first=first, weights=given)
            if check:
                check(terms)
                self.zero()
            (loss * (share * self.scale.value)).backward()
            total = loss.detach() * share if total is None else total + loss.detach() * share
            if first:
                for name, term in terms.items():
                    value = term.detach() * share
                    self.terms[name] = self.terms[name] + value if name in self.terms else value
        self.scale.undo(self.params)
        assert total is not None  # an update has rows
        return total

    def examples(self) -> Tensor:
        clock = replace(self.clock, repeated=True)
        with torch.no_grad(), evaluating(self.objective):
            found = [self.objective.examples(part, clock).float() for part in self.parts]
        if any(part.ndim == 0 for part in found):
            raise TrainingError("no loss of this stage is known for each row, only for the batch as a whole.")
        return torch.cat(found)

    def _split(self, weights: Tensor) -> list[Tensor]:
        """For each part the weights of its rows, 1 on average over the update if they sum to 1."""
        if weights.shape != (self.rows,):
            raise ValueError(f"{tuple(weights.shape)} weights for {self.rows} rows")
        return list((weights * self.rows).split([len(part.rows) for part in self.parts]))
