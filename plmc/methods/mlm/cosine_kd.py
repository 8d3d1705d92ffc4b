"""DistilBERT's third loss: hidden states point the same way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from plmc.core.clock import BEGINNING, Clock
from plmc.core.fields import NotNegative
from plmc.core.method import Method
from plmc.core.setting import Setting
from plmc.core.view import View
from plmc.errors import ConfigError
from plmc.losses.cosine import hidden_cosine


@dataclass
class CosineKD(Method):
    """The student's last hidden states take the direction of the teacher's.

    L_cos = mean over real tokens of 1 - cos(h_S, h_T), h `(B, T, D)` (Sanh et al. 2019, arXiv 1910.01108, Section 3).
    Term: `cosine`. Needs `hidden_states` of both, run live, and a teacher of the student's width.

    Attributes:
        weight: 0 switches it off.

    Raises:
        ConfigError: on a negative weight or another width.
    """

    family: ClassVar[str] = "distillation"
    weight: NotNegative = 1.0

    def terms(self, clock: Clock = BEGINNING) -> dict[str, float]:
        return {"cosine": self.weight} if self.weight else {}

    def required(self) -> frozenset[str]:
        return frozenset({"hidden_states", "teacher.hidden_states"} if self.weight else ())

    def check(self, setting: Setting) -> None:
        if self.weight and setting.teacher is not None and setting.teacher.width != setting.student.width:
            raise ConfigError(
                f"{self.name}: the student is {setting.student.width} wide, the teacher {setting.teacher.width}; "
                "cosines need one width. Use student=half, or remove it: "
                f"~recipe.stages.{setting.stage}.methods.{self.name}"
            )

    def losses(self, view: View, clock: Clock) -> dict[str, Tensor]:
        if not self.weight:
            return {}
        loss = hidden_cosine(view.student.states[-1], view.taught.states[-1], view.mask)
        return {"cosine": view.by_row(loss, view.mask.nonzero()[:, 0], "tokens")}
