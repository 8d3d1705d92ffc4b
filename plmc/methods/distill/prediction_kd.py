"""Prediction-layer distillation of TinyBERT (its last step)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from plmc.core.clock import BEGINNING, Clock
from plmc.core.fields import Positive
from plmc.core.method import Method
from plmc.core.setting import Setting
from plmc.core.view import View
from plmc.errors import ConfigError


@dataclass
class PredictionKD(Method):
    """The student learns the teacher's distribution, without gold labels.

    L_pred = CE(z_T / t, z_S / t) (Jiao et al. 2019, arXiv 1909.10351, Eq. 10), `(B, C)` logits, mean over rows, no
    factor t².

    - Regression is not described in the paper; `mode=paper` takes the squared error to the teacher's score.
    - `mode=official_code` averages over batch x classes, i.e. 1/C of the paper's loss, and for regression takes the
      squared error to the gold score. There is no official code for span extraction.

    Term: `soft_ce`. Needs `teacher.logits`. Spans: mean of start and end, padded positions excluded. Composes badly
    with `TaskLoss` and `LogitKD`: the paper has no gold term here.

    Attributes:
        temperature: t = 1 in the paper.

    Raises:
        ConfigError: on an unknown mode, a temperature that is not positive, or `official_code` on a span task.
    """

    family: ClassVar[str] = "distillation"
    needs = frozenset({"teacher.logits"})

    temperature: Positive = 1.0
    mode: Literal["paper", "official_code"] = "paper"

    def terms(self, clock: Clock = BEGINNING) -> dict[str, float]:
        return {"soft_ce": 1.0}

    def check(self, setting: Setting) -> None:
        if setting.head.over_vocabulary:
            raise ConfigError(f"{self.name}: for a masked language model use method=[token_kd], without {self.name}.")
        if self.mode == "official_code" and setting.head.per_token:
            raise ConfigError(f"{self.name}: TinyBERT's code for span tasks was never published. Use mode=paper.")

    def losses(self, view: View, clock: Clock) -> dict[str, Tensor]:
        official = self.mode == "official_code"
        if official and not view.head.has_classes:
            return {"soft_ce": view.head.gold(view)}
        loss = view.head.soft_cross_entropy(view, temperature=self.temperature)
        return {"soft_ce": loss / view.student.logits[0].shape[-1] if official else loss}
