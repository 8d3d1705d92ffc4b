"""Student, extra modules and loss terms as one module: its forward is the whole loss of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from plmc.core.batch import Batch
from plmc.core.chain import Chain
from plmc.core.clock import Clock
from plmc.core.view import Outputs, View
from plmc.errors import TrainingError
from plmc.heads.base import Head, asked
from plmc.models.modes import evaluating


class Objective(nn.Module):
    """`forward(batch, clock) -> (loss, terms)`: the weighted sum of all loss terms, and each term unweighted; means
    over the batch.

    One object to autocast, to count and to checkpoint.
    """

    def __init__(
        self,
        student: nn.Module,
        chain: Chain,
        modules: nn.ModuleDict,
        *,
        head: Head,
        teachers: Mapping[str, Callable[[Batch], Outputs]] | None = None,
        autocast: torch.dtype | None = None,
    ):
        super().__init__()
        self.student, self.extra = student, modules
        # A tuple keeps the teachers and the chain out of the module tree: neither is trained, moved or saved here.
        self._outside = (chain, dict(teachers or {}))
        self.head, self.autocast = head, autocast
        self.asked = asked(chain.required())

    @property
    def chain(self) -> Chain:
        """The stage's methods."""
        return self._outside[0]

    def _precision(self, device: str) -> AbstractContextManager[Any]:
        return torch.autocast(device, self.autocast) if self.autocast else nullcontext()

    def forward(
        self, batch: Batch, clock: Clock, *, first: bool = False, weights: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and terms.

        Args:
            first: the first pass over this batch in its update; the methods observe it.
            weights: `(B,)`, of each row in the mean; None: 1.
        """
        total, terms = self._totals(batch, clock, first=first)
        loss = (total if weights is None else total * weights.to(total)).mean()
        return loss, {name: term.mean() for name, term in terms.items()}

    def examples(self, batch: Batch, clock: Clock) -> Tensor:
        """The loss of each row `(B,)`; a scalar if none is known for each row."""
        return self._totals(batch, clock, first=False)[0]

    def idle(self) -> None:
        """Takes part in what the processes of a run do together for each batch, without one: see
        `plmc.teachers.live.Live.idle`."""
        for teacher in self._outside[1].values():
            if together := getattr(teacher, "idle", None):
                together()

    def _totals(self, batch: Batch, clock: Clock, *, first: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum of the terms, and the terms: of each row, or scalars."""
        chain, teachers = self._outside

        def student(inputs: Mapping[str, Tensor] | None = None, *, train: bool = True) -> Outputs:
            asked = replace(batch, inputs={**batch.inputs, **inputs}) if inputs else batch
            with nullcontext() if train else evaluating(self.student), chain.scope(self.student, clock):
                return self.head.ask(self.student, asked, **self.asked)

        with self._precision(batch.inputs["input_ids"].device.type):
            said = {name: teacher(batch) for name, teacher in teachers.items()}
            view = View(
                head=self.head,
                labels=self.head.labels(batch, all_tokens=self.asked["all_tokens"]),
                mask=batch.inputs["attention_mask"],
                batch=batch.inputs,
                student=student(),
                teacher=next(iter(said.values())) if len(said) == 1 else None,
                teachers=said,
                run=student,
                per_row=batch.per_row or batch.recounted().per_row or {},
                places=self.head.places(batch, all_tokens=self.asked["all_tokens"]),
                examples=batch.examples,
            )
            terms = chain.losses(view, clock)
            weights = chain.terms(clock)
            if unknown := terms.keys() - weights.keys():
                name = min(unknown)
                raise TrainingError(f"loss term {name} has no weight. Its method must list it in terms().")
            for name, term in terms.items():
                if term.shape not in ((), batch.rows.shape):
                    raise TrainingError(
                        f"loss term {name} has the shape {tuple(term.shape)}. A term is one value for each of the "
                        f"{len(batch.rows)} rows, or a scalar."
                    )
            total = reduce(torch.add, [weights[name] * term for name, term in terms.items()])
            if first:
                with torch.no_grad():
                    chain.observe(view.seen(), clock)
        return total, terms
