"""Hidden tokens of running text."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plmc.core.view import Outputs
from plmc.errors import ConfigError
from plmc.heads.base import Head, outputs_of
from plmc.losses.task import token_cross_entropy
from plmc.losses.token_kl import token_kl
from plmc.models import encoder, masked_lm

if TYPE_CHECKING:
    from plmc.core.batch import Batch
    from plmc.core.rows import Split
    from plmc.core.view import View


class MaskedLMHead(Head):
    """Logits `(N, V)` over the vocabulary at N positions of a batch, row by row; labels `(N,)`, -100 where none is
    hidden.

    The product with the vocabulary costs more than the blocks of a small encoder, so it is made at the hidden positions
    alone, or at all real tokens where a method needs `all_tokens`. The logits keep the type that they were computed in:
    in float32 they would fill more memory than the model.
    """

    kind = "mlm"
    suffix = "ForMaskedLM"
    pipeline = "fill-mask"
    sample = 'f"A {model.tokenizer.mask_token}."'
    over_vocabulary = True
    supervised = False

    def auto_class(self) -> Any:
        from transformers import AutoModelForMaskedLM

        return AutoModelForMaskedLM

    def outputs(self, labels: Sequence[str]) -> int:
        return 0

    def loaded(self, model: nn.Module, name: str) -> None:
        """Gives the model the pooler of its files, with which transformers builds no masked language model."""
        masked_lm.attach_pooler(model, masked_lm.stored_pooler(name))

    def moved(self, source: nn.Module, target: nn.Module) -> None:
        masked_lm.attach_pooler(target, copy.deepcopy(masked_lm.pooler_of(source)))

    def ask(
        self, model: nn.Module, batch: Batch, *, scores: bool = False, all_tokens: bool = False, **options: Any
    ) -> Outputs:
        output = encoder.base(model)(**batch.inputs, **options)
        chosen = _positions(batch, all_tokens)
        return outputs_of(output, (masked_lm.head_logits(model, output.last_hidden_state[chosen]),), scores=scores)

    def labels(self, batch: Batch, *, all_tokens: bool = False) -> Tensor:
        return batch.gold[_positions(batch, all_tokens)]

    def places(self, batch: Batch, *, all_tokens: bool = False) -> Tensor:
        return _positions(batch, all_tokens).nonzero()[:, 0]

    def gold(self, view: View) -> Tensor:
        """Cross-entropy; the mean over the update's rows is that over its hidden tokens."""
        return view.by_row(token_cross_entropy(view.student.logits[0], view.gold), view.at, "guessed")

    def divergence(self, view: View, *, temperature: float) -> Tensor:
        """`plmc.losses.token_kl.token_kl` at the hidden tokens."""
        hidden = view.gold >= 0
        student, teacher = view.student.logits[0][hidden], view.taught.logits[0][hidden]
        return view.by_row(token_kl(student, teacher, temperature=temperature), view.at[hidden], "guessed")

    def gather(self, logits: Sequence[Tensor], batch: Batch) -> tuple[np.ndarray, ...]:
        """Three of `(B,)`: hidden tokens, right guesses, and the sum of -log p of the hidden tokens."""
        chosen = batch.gold >= 0
        gold, said = batch.gold[chosen], logits[0]
        values = torch.ones(len(gold)), said.argmax(-1) == gold, F.cross_entropy(said, gold, reduction="none")
        row = chosen.nonzero()[:, 0].cpu().numpy()
        sums = tuple(np.zeros(len(batch.rows)) for _ in values)
        for total, value in zip(sums, values, strict=True):
            np.add.at(total, row, value.double().cpu().numpy())
        return sums

    def blank(self, values: np.ndarray, split: Split) -> np.ndarray:
        return np.zeros(len(split))

    def answers(
        self, model: Any, tokenizer: Any, rows: Sequence[tuple[str, ...]], max_length: int
    ) -> list[dict[str, Any]]:
        raise ConfigError("this model guesses hidden tokens; it answers no texts. Fine-tune it on a task first.")


def _positions(batch: Batch, all_tokens: bool) -> Tensor:
    """Where logits are wanted, `(B, T)` bool: at every real token, or where one is hidden."""
    return batch.inputs["attention_mask"].bool() if all_tokens else batch.gold >= 0
