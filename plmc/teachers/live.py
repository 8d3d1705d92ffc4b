"""A teacher that runs along with the student; see `teacher_cache` for one that is looked up."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from plmc.core.rows import Split
from plmc.core.view import Outputs
from plmc.models.masked_lm import read_at
from plmc.training.batches import Batch, collate
from plmc.training.objective import positions, read

Teacher = Callable[[Batch], Outputs]


def live(model: nn.Module, needs: frozenset[str], kind: str, *, rows: Split | None = None, pad_id: int = 0) -> Teacher:
    """The teacher runs on every batch, frozen and in evaluation mode; one forward serves all methods.

    `rows`: the stage's rows with the columns that the teacher reads, where they are not the student's; the tokens are
    the same. `pad_id`: of the teacher's tokenizer.
    """
    model.eval().requires_grad_(False)
    options = {}
    scores = "teacher.scores" in needs
    if "teacher.hidden_states" in needs:
        options["output_hidden_states"] = True
    if scores or "teacher.attentions" in needs:
        options["output_attentions"] = True

    def outputs(batch: Batch) -> Outputs:
        with torch.no_grad():
            if kind == "mlm":
                return read_at(model, batch.inputs, positions(batch, "all_tokens" in needs), scores=scores, **options)
            own = batch if rows is None else collate(rows, batch.rows, pad_id).to(batch.inputs["input_ids"].device)
            return read(model(**own.inputs, **options), kind=kind, scores=scores)

    return outputs
