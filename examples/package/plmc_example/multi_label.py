"""Several labels for one text: a kind of task that plmc itself does not have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plmc.core.rows import Split
from plmc.core.view import View
from plmc.heads.base import Head, padded_logits


class MultiLabelHead(Head):
    """C labels of which any number is right: logits `(B, C)`, labels `(B, C)` float32, 0 or 1."""

    kind = "multi_label"
    suffix = "ForSequenceClassification"
    pipeline = "text-classification"

    def auto_class(self) -> Any:
        from transformers import AutoModelForSequenceClassification

        return AutoModelForSequenceClassification

    def outputs(self, labels: Sequence[str]) -> int:
        return len(labels)

    def config(self, labels: Sequence[str]) -> dict[str, Any]:
        return {
            "num_labels": len(labels),
            "id2label": dict(enumerate(labels)),
            "label2id": {label: i for i, label in enumerate(labels)},
            "problem_type": "multi_label_classification",
        }

    def gold(self, view: View) -> Tensor:
        """Binary cross-entropy, mean over labels."""
        return _bce(view.student.logits[0], view.gold)

    def divergence(self, view: View, *, temperature: float) -> Tensor:
        """T² · KL of the Bernoulli distribution of each label, mean over labels."""
        return temperature**2 * (_to_teacher(view, temperature, _cross) - _to_teacher(view, temperature, _entropy))

    def soft_cross_entropy(self, view: View, *, temperature: float) -> Tensor:
        """Binary cross-entropy to the teacher's probabilities, mean over labels."""
        return _to_teacher(view, temperature, _cross)

    def loss(self, logits: Sequence[np.ndarray], split: Split) -> float | None:
        """Binary cross-entropy."""
        return float(_bce(torch.from_numpy(logits[0]), torch.from_numpy(split.gold)).mean())

    def record(self, scores: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
        return {"prediction": [label for label, score in zip(labels, scores, strict=True) if score > 0]}

    def answers(
        self, model: nn.Module, tokenizer: Any, rows: Sequence[tuple[str, ...]], max_length: int
    ) -> list[dict[str, Any]]:
        names = list(model.config.id2label.values())
        logits = padded_logits(model, tokenizer, rows, max_length=max_length, width=len(names))
        return [
            {
                "texts": list(row),
                "label": [name for name, p in zip(names, chances, strict=True) if p > 0.5],
                "scores": dict(zip(names, map(float, chances), strict=True)),
            }
            for row, chances in zip(rows, logits.sigmoid(), strict=True)
        ]


def _to_teacher(view: View, temperature: float, loss: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    return loss(view.student.logits[0] / temperature, view.taught.logits[0] / temperature)


def _cross(student: Tensor, teacher: Tensor) -> Tensor:
    return _bce(student, teacher.sigmoid())


def _entropy(student: Tensor, teacher: Tensor) -> Tensor:
    return _bce(teacher, teacher.sigmoid())


def _bce(logits: Tensor, probabilities: Tensor) -> Tensor:
    """`(B,)`, the mean over labels."""
    return F.binary_cross_entropy_with_logits(logits, probabilities, reduction="none").mean(-1)
