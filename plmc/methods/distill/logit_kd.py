"""Knowledge distillation on logits (Hinton, Vinyals, Dean 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import ClassVar

import torch
from torch import Tensor

from plmc.core.clock import BEGINNING, Clock
from plmc.core.fields import Positive, Share
from plmc.core.method import Method
from plmc.core.view import View


@dataclass
class LogitKD(Method):
    """The student learns from gold labels and from the teacher's softened distribution.

    L = alpha · CE(y, z_S) + (1 - alpha) · T² · KL(softmax(z_T / T) ‖ softmax(z_S / T)) (Hinton et al. 2015, arXiv
    1503.02531, Section 2).

    Terms: `ce` and `kl`; a term of weight 0 is neither computed nor declared, and at alpha = 1 no teacher is needed.
    Needs `teacher.logits`; a cache of them suffices. Spans: mean of start and end, padded positions excluded.
    Composes badly with `TaskLoss` (a second gold term) and with input perturbations that the teacher does not see.

    - Masked language models: both terms at the masked positions; `TokenKD` takes all tokens.
    - Regression has no distribution over classes: `kl` is then the squared error to the teacher's score, and the
      temperature plays no part.
    - Several teachers: `kl` is the mean of the distances from each of them.
    - Rows without labels, as of running text: `ce` is 0 there.

    Attributes:
        alpha: weight of the gold labels, 0 to 1; papers that speak of the hardness h of distillation mean 1 - alpha.
        temperature: T > 0. Neither default is from the paper, which fixes no values.

    Raises:
        ConfigError: on alpha outside 0 to 1 or a temperature that is not positive.
    """

    family: ClassVar[str] = "distillation"
    several_teachers: ClassVar[bool] = True
    temperature: Positive = 2.0
    alpha: Share = 0.5

    def terms(self, clock: Clock = BEGINNING) -> dict[str, float]:
        weights = {"ce": self.alpha, "kl": 1 - self.alpha}
        return {name: weight for name, weight in weights.items() if weight}

    def required(self) -> frozenset[str]:
        return frozenset({"teacher.logits"} if "kl" in self.terms() else ())

    def losses(self, view: View, clock: Clock) -> dict[str, Tensor]:
        terms = self.terms()
        losses = {}
        if "ce" in terms:
            losses["ce"] = view.head.gold(view)
        if "kl" in terms:
            views = view.of_each_teacher()
            apart = [view.head.divergence(each, temperature=self.temperature) for each in views]
            losses["kl"] = reduce(torch.add, apart) / len(apart) if len(apart) > 1 else apart[0]
        return losses
