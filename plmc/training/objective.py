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
from plmc.models.masked_lm import read_at
from plmc.training.batches import Batch


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


def positions(batch: Batch, all_tokens: bool) -> Tensor:
    """Where a masked language model's logits are wanted, `(B, T)` bool: at every real token, or where one is to be
    guessed."""
    return batch.inputs["attention_mask"].bool() if all_tokens else batch.labels >= 0


def shares(batch: Batch) -> dict[str, float]:
    """What this micro-batch has of masked positions and of tokens, as a multiple of its rows' share of the update."""
    rows = len(batch.rows)
    own = {"masked": int((batch.labels >= 0).sum()), "tokens": int(batch.inputs["attention_mask"].sum())}
    return {name: count / (rows * batch.per_row[name]) if batch.per_row[name] else 1.0 for name, count in own.items()}


class Objective(nn.Module):
    """`forward(batch, clock) -> (loss, terms)`: the weighted sum of all loss terms, and each term unweighted.

    One object to autocast, to count and to checkpoint.
    """

    def __init__(
        self,
        student: nn.Module,
        chain: Chain,
        modules: nn.ModuleDict,
        *,
        kind: str,
        teacher: Callable[[Batch], Outputs] | None = None,
        autocast: torch.dtype | None = None,
    ):
        super().__init__()
        self.student, self.extra = student, modules
        # A tuple keeps the teacher and the chain out of the module tree: neither is trained, moved or saved here.
        self._outside = (chain, teacher)
        self.kind, self.autocast = kind, autocast
        needs = chain.required()
        self.options = {}
        self._scores, self._all_tokens = "scores" in needs, "all_tokens" in needs
        if "hidden_states" in needs:
            self.options["output_hidden_states"] = True
        if "attentions" in needs or self._scores:
            self.options["output_attentions"] = True

    def _precision(self, device: str):
        return torch.autocast(device, self.autocast) if self.autocast else nullcontext()

    def forward(self, batch: Batch, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        chain, teacher = self._outside
        chosen = positions(batch, self._all_tokens) if self.kind == "mlm" else None

        def student() -> Outputs:
            with chain.scope(self.student, clock):
                if chosen is not None:
                    return read_at(self.student, batch.inputs, chosen, scores=self._scores, **self.options)
                return read(self.student(**batch.inputs, **self.options), kind=self.kind, scores=self._scores)

        with self._precision(batch.inputs["input_ids"].device.type):
            view = View(
                kind=self.kind,
                labels=batch.labels if chosen is None else batch.labels[chosen],
                mask=batch.inputs["attention_mask"],
                batch=batch.inputs,
                student=student(),
                teacher=teacher(batch) if teacher else None,
                again=student,
                **({} if batch.per_row is None else {"shares": shares(batch)}),
            )
            terms = chain.losses(view, clock)
            weights = chain.terms()
            if unknown := terms.keys() - weights.keys():
                name = min(unknown)
                raise TrainingError(f"loss term {name} has no weight. Its method must list it in terms().")
            loss = sum(weights[name] * term for name, term in terms.items())
        return loss, terms
