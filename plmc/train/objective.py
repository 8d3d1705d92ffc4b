"""Student, extra modules and loss terms as one module: its forward is the whole loss of a batch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from plmc.core.chain import Chain
from plmc.core.clock import Clock
from plmc.core.view import Outputs, View
from plmc.errors import TrainingError
from plmc.train.batches import Batch


def read(output, *, kind: str, scores: bool) -> Outputs:
    """`Outputs` from what a transformers model returns; logits in float32."""
    heads = (output.start_logits, output.end_logits) if kind == "span" else (output.logits,)
    maps = output.attentions if "attentions" in output else None
    return Outputs(
        logits=tuple(head.float() for head in heads),
        hidden_states=output.hidden_states if "hidden_states" in output else None,
        attentions=None if scores else maps,
        scores=maps if scores else None,
    )


class Objective(nn.Module):
    """`forward(batch, clock) -> (loss, terms)`: the weighted sum of all loss terms, and each term unweighted.

    One object to wrap for many processes, to autocast, to count and to checkpoint.
    """

    def __init__(
        self, student: nn.Module, chain: Chain, modules: nn.ModuleDict, *, kind: str,
        teacher: Callable[[Batch], Outputs] | None = None, autocast: torch.dtype | None = None,
    ):
        super().__init__()
        self.student, self.extra = student, modules
        # A tuple keeps the teacher and the chain out of the module tree: neither is trained, moved or saved here.
        self._outside = (chain, teacher)
        self.kind, self.autocast = kind, autocast
        needs = chain.required()
        self.options = {}
        self._scores = "scores" in needs
        if "hidden_states" in needs:
            self.options["output_hidden_states"] = True
        if "attentions" in needs or self._scores:
            self.options["output_attentions"] = True

    def _precision(self, device: str):
        return torch.autocast(device, self.autocast) if self.autocast else nullcontext()

    def forward(self, batch: Batch, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        chain, teacher = self._outside

        def student() -> Outputs:
            with chain.scope(self.student, clock):
                return read(self.student(**batch.inputs, **self.options), kind=self.kind, scores=self._scores)

        with self._precision(batch.inputs["input_ids"].device.type):
            view = View(
                kind=self.kind, labels=batch.labels, mask=batch.inputs["attention_mask"], batch=batch.inputs,
                student=student(), teacher=teacher(batch) if teacher else None, again=student,
            )
            terms = chain.losses(view, clock)
            weights = chain.terms()
            if unknown := terms.keys() - weights.keys():
                name = min(unknown)
                raise TrainingError(f"loss term {name} has no weight. Its method must list it in terms().")
            loss = sum(weights[name] * term for name, term in terms.items())
        return loss, terms
