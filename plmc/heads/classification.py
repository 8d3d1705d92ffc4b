"""One label for one text or two: a class, or a score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from plmc.heads.base import Head, padded_logits
from plmc.losses.kl import kd_kl, soft_cross_entropy

if TYPE_CHECKING:
    from plmc.core.rows import Split
    from plmc.core.view import View


class ClassificationHead(Head):
    """C classes: logits `(B, C)`, labels `(B,)` int64."""

    kind = "classification"
    suffix = "ForSequenceClassification"
    pipeline = "text-classification"
    has_classes = True
    said = "prediction_id"
    pictured = True
    example_file = "classify.py"
    mlflow_pipeline = "TextClassificationPipeline"

    def auto_class(self) -> Any:
        from transformers import AutoModelForSequenceClassification

        return AutoModelForSequenceClassification

    def outputs(self, labels: Sequence[str]) -> int:
        return len(labels)

    def config(self, labels: Sequence[str]) -> dict[str, Any]:
        return _config(labels, "single_label_classification")

    def gold(self, view: View) -> Tensor:
        """Cross-entropy; 0 for rows whose label is -100."""
        return F.cross_entropy(view.student.logits[0], view.gold, reduction="none")

    def divergence(self, view: View, *, temperature: float) -> Tensor:
        """`plmc.losses.kl.kd_kl`."""
        return kd_kl(view.student.logits[0], view.taught.logits[0], temperature=temperature)

    def soft_cross_entropy(self, view: View, *, temperature: float) -> Tensor:
        """`plmc.losses.kl.soft_cross_entropy`."""
        return soft_cross_entropy(view.student.logits[0], view.taught.logits[0], temperature=temperature)

    def loss(self, logits: Sequence[np.ndarray], split: Split) -> float | None:
        """Cross-entropy."""
        return float(F.cross_entropy(torch.from_numpy(logits[0]), torch.from_numpy(split.gold)))

    def record(self, scores: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
        best = int(scores.argmax())
        return {"prediction": labels[best], "prediction_id": best, "logits": scores.tolist()}

    def answers(
        self, model: Any, tokenizer: Any, rows: Sequence[tuple[str, ...]], max_length: int
    ) -> list[dict[str, Any]]:
        names = model.config.id2label
        chances = padded_logits(model, tokenizer, rows, max_length=max_length, width=len(names)).softmax(-1)
        return [
            {
                "texts": list(row),
                "label": names[int(p.argmax())],
                "score": float(p.max()),
                "scores": {names[i]: float(value) for i, value in enumerate(p)},
            }
            for row, p in zip(rows, chances, strict=True)
        ]


class RegressionHead(Head):
    """A score: logits `(B, 1)`, labels `(B,)` float32. A temperature plays no part, as there is no distribution."""

    kind = "regression"
    pictured = True
    suffix = "ForSequenceClassification"
    pipeline = "text-classification"
    example_file = "classify.py"
    mlflow_pipeline = "TextClassificationPipeline"
    # Without it a pipeline squeezes the score through a sigmoid.
    mlflow_config = {"problem_type": "regression"}

    def auto_class(self) -> Any:
        from transformers import AutoModelForSequenceClassification

        return AutoModelForSequenceClassification

    def outputs(self, labels: Sequence[str]) -> int:
        return 1

    def config(self, labels: Sequence[str]) -> dict[str, Any]:
        return _config(("score",), "regression")

    def gold(self, view: View) -> Tensor:
        """Squared error; 0 for rows whose label is NaN."""
        scores = view.student.logits[0].squeeze(-1)
        gold = view.gold.to(scores.dtype)
        return F.mse_loss(scores, torch.where(gold.isnan(), scores.detach(), gold), reduction="none")

    def divergence(self, view: View, *, temperature: float) -> Tensor:
        """Squared error to the teacher's score."""
        return F.mse_loss(view.student.logits[0], view.taught.logits[0], reduction="none").squeeze(-1)

    def soft_cross_entropy(self, view: View, *, temperature: float) -> Tensor:
        """Squared error to the teacher's score."""
        return self.divergence(view, temperature=temperature)

    def loss(self, logits: Sequence[np.ndarray], split: Split) -> float | None:
        """Mean squared error."""
        return float(np.mean(np.square(logits[0][:, 0] - split.gold)))

    def record(self, scores: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
        return {"prediction": float(scores[0])}

    def answers(
        self, model: Any, tokenizer: Any, rows: Sequence[tuple[str, ...]], max_length: int
    ) -> list[dict[str, Any]]:
        scores = padded_logits(model, tokenizer, rows, max_length=max_length, width=1)
        return [{"texts": list(row), "score": float(score[0])} for row, score in zip(rows, scores, strict=True)]


def _config(labels: Sequence[str], problem: str) -> dict[str, Any]:
    return {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: i for i, label in enumerate(labels)},
        "problem_type": problem,
    }
