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


def live(model: nn.Module, needs: frozenset[str], head: Head, *, rows: Split | None = None, pad_id: int = 0) -> Teacher:
    """The teacher runs on every batch, frozen and in evaluation mode; one forward serves all methods.

    Args:
        model: the teacher.
        needs: what the stage's methods need.
        head: the kind of the stage's task.
        rows: the stage's rows with the columns that the teacher reads, where they are not the student's; the tokens
            are the same.
        pad_id: of the teacher's tokenizer.
    """
    model.eval().requires_grad_(False)
    options = asked(needs, "teacher.")

    def outputs(batch: Batch) -> Outputs:
        own = batch if rows is None else collate(rows, batch.rows, pad_id).to(batch.inputs["input_ids"].device)
        with torch.no_grad():
            return head.ask(model, own, **options)

    return outputs
