"""A teacher that runs along with the student; see `plmc.teachers.cache` for one that is looked up."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from plmc.core.batch import Batch
from plmc.core.rows import Split
from plmc.core.view import Outputs
from plmc.heads.base import Head, asked
from plmc.training.batches import collate

Teacher = Callable[[Batch], Outputs]


class Live:
    """The teacher runs on every batch, frozen and in evaluation mode; one forward serves all methods.

    Args:
        model: the teacher.
        needs: what the stage's methods need.
        head: the kind of the stage's task.
        rows: the stage's rows with the columns that the teacher reads, where they are not the student's; the tokens
            are the same.
        pad_id: of the teacher's tokenizer.
        together: all processes of the run must run it equally often; see `idle`.
    """

    def __init__(
        self,
        model: nn.Module,
        needs: frozenset[str],
        head: Head,
        *,
        rows: Split | None = None,
        pad_id: int = 0,
        together: bool = False,
    ):
        self.model, self.head, self.rows, self.pad_id = model.eval().requires_grad_(False), head, rows, pad_id
        self.together, self._options = together, asked(needs, "teacher.")

    def __call__(self, batch: Batch) -> Outputs:
        own = batch
        if self.rows is not None:
            own = collate(self.rows, batch.rows, self.pad_id).to(batch.inputs["input_ids"].device)
        with torch.no_grad():
            return self.head.ask(self.model, own, **self._options)

    def idle(self) -> None:
        """A forward for the sake of the other processes, in one that has no rows left."""
        if self.together:
            device = next(self.model.parameters()).device
            with torch.no_grad():
                self.model(input_ids=torch.full((1, 2), self.pad_id, device=device))
