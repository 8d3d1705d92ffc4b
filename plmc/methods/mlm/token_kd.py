"""Distillation of a masked language model's predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from plmc.core.clock import BEGINNING, Clock
from plmc.core.fields import NotNegative, Positive
from plmc.core.method import Method
from plmc.core.setting import Setting
from plmc.core.view import View
from plmc.errors import ConfigError
from plmc.losses.token_kl import token_kl


@dataclass
class TokenKD(Method):
    """The student's distribution over the vocabulary follows the teacher's at every token, or at the masked ones.

    L = T² · (1/N) Σ_n KL(softmax(z_T[n] / T) ‖ softmax(z_S[n] / T)) over N positions, z `(N, V)` (DistilBERT, Sanh et
    al. 2019, Section 3, L_ce; Prune OFA, Zafrir et al. 2021).

    Term: `kl`. Needs `teacher.logits`, run live (they are too large to store). Only for masked-language-model stages.

    Attributes:
        positions: `all` real tokens, as both official codes do, or `masked`, which spares most of the product with the
            vocabulary.
        temperature: T > 0.
        weight: 0 switches it off.

    Raises:
        ConfigError: on an unknown position, a temperature or weight out of range, or another kind of task.
    """

    family: ClassVar[str] = "distillation"
    temperature: Positive = 2.0
    positions: Literal["all", "masked"] = "all"
    weight: NotNegative = 1.0

    def terms(self, clock: Clock = BEGINNING) -> dict[str, float]:
        return {"kl": self.weight} if self.weight else {}

    def required(self) -> frozenset[str]:
        if not self.weight:
            return frozenset()
        return frozenset({"teacher.logits"} | ({"all_tokens"} if self.positions == "all" else set()))

    def check(self, setting: Setting) -> None:
        if not setting.head.over_vocabulary:
            raise ConfigError(
                f"{self.name}: stage {setting.stage} trains no masked language model. Use method kd there, or give the "
                "stage mlm options (see recipe=distilbert)."
            )

    def losses(self, view: View, clock: Clock) -> dict[str, Tensor]:
        if not self.weight:
            return {}
        student, teacher, places = view.student.logits[0], view.taught.logits[0], view.at
        if self.positions == "masked":
            guessed = view.gold >= 0
            student, teacher, places = student[guessed], teacher[guessed], places[guessed]
        values = token_kl(student, teacher, temperature=self.temperature)
        return {"kl": view.by_row(values, places, "tokens" if self.positions == "all" else "guessed")}
