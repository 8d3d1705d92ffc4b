"""The answer to a question as a span of a text: a first and a last token."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from plmc.errors import ConfigError
from plmc.heads.base import Head
from plmc.losses.kl import kd_kl, soft_cross_entropy
from plmc.losses.task import place_cross_entropy

if TYPE_CHECKING:
    from plmc.core.batch import Batch
    from plmc.core.rows import Split
    from plmc.core.view import View


class SpanHead(Head):
    """Logits are two of `(B, T)`, of starts and of ends; labels `(B, 2)` int64.

    Padding is no place to start or end at: otherwise the loss of a row would depend on the length of its neighbours in
    the batch.
    """

    kind = "span"
    suffix = "ForQuestionAnswering"
    pipeline = "question-answering"
    sample = 'question="Who?", context="She did."'
    parts = 2
    per_token = True
    pictured = True
    example_file = "answer.py"
    mlflow_pipeline = "QuestionAnsweringPipeline"
    # Transformers 5 has no question-answering pipeline, so the model brings a reader along.
    mlflow_code = Path(__file__).with_name("span_reader.py")

    def auto_class(self) -> Any:
        from transformers import AutoModelForQuestionAnswering

        return AutoModelForQuestionAnswering

    def outputs(self, labels: Sequence[str]) -> int:
        return 2

    def logits(self, output: Any) -> tuple[Tensor, ...]:
        return output.start_logits, output.end_logits

    def gold(self, view: View) -> Tensor:
        """Mean of the cross-entropies of start and end, mean over rows."""
        parts = [place_cross_entropy(part, view.gold[:, i], view.mask) for i, part in enumerate(view.student.logits)]
        return reduce(torch.add, parts) / len(parts)

    def divergence(self, view: View, *, temperature: float) -> Tensor:
        """Mean of `plmc.losses.kl.kd_kl` of start and end."""
        return _mean(kd_kl, view, temperature)

    def soft_cross_entropy(self, view: View, *, temperature: float) -> Tensor:
        """Mean of `plmc.losses.kl.soft_cross_entropy` of start and end."""
        return _mean(soft_cross_entropy, view, temperature)

    def loss(self, logits: Sequence[np.ndarray], split: Split) -> float | None:
        """Mean of the cross-entropies of first and last token."""
        labels = torch.from_numpy(split.gold)
        parts = [F.cross_entropy(torch.from_numpy(part), labels[:, i]) for i, part in enumerate(logits)]
        return float(sum(parts)) / len(parts)

    def gather(self, logits: Sequence[Tensor], batch: Batch) -> tuple[np.ndarray, ...]:
        """Two of `(B, T)`, -inf on padding."""
        padding = batch.inputs["attention_mask"].to(logits[0].device) == 0
        return tuple(part.float().masked_fill(padding, -torch.inf).cpu().numpy() for part in logits)

    def blank(self, values: np.ndarray, split: Split) -> np.ndarray:
        """`(N, T)` for the longest row."""
        return np.full((len(split), int(split.lengths.max())), -np.inf, dtype=np.float32)

    def answers(
        self, model: Any, tokenizer: Any, rows: Sequence[tuple[str, ...]], max_length: int
    ) -> list[dict[str, Any]]:
        from plmc.heads.span_reader import Reader

        reader = Reader(model, tokenizer)
        if any(len(row) != 2 for row in rows):
            raise ConfigError("this model reads: give a question and a text that answers it.")
        return [{"texts": list(row), **reader.answer(*row)} for row in rows]

    def columns(self, pair: bool) -> tuple[list[str | None], list[tuple[str, str]]]:
        return ["question", "context"], [("answer", "string"), ("score", "double")]


def _mean(loss: Any, view: View, temperature: float) -> Tensor:
    pairs = zip(view.student.logits, view.taught.logits, strict=True)
    parts = [loss(student, teacher, temperature=temperature, mask=view.mask) for student, teacher in pairs]
    return reduce(torch.add, parts) / len(parts)
