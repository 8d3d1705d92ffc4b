"""A penalty on confident answers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from plmc.core.clock import BEGINNING, Clock
from plmc.core.fields import NotNegative
from plmc.core.method import Method
from plmc.core.view import View


@dataclass
class ConfidencePenalty(Method):
    """Rewards answers of high entropy.

    L = weight · mean over rows of Σ_c p_c log p_c, p = softmax(z), z `(B, C)`: the negative entropy (Pereyra et al.
    2017, arXiv 1701.06548, Section 3; the weight is their β, for which they search between 0.1 and 8). `weight`: 0
    switches it off. Term: `negative_entropy`, at most 0. Needs nothing. Composes with everything.
    """

    weight: NotNegative = 0.1

    def terms(self, clock: Clock = BEGINNING) -> dict[str, float]:
        return {"negative_entropy": self.weight} if self.weight else {}

    def losses(self, view: View, clock: Clock) -> dict[str, Tensor]:
        if not self.weight:
            return {}
        logs = [part.log_softmax(-1) for part in view.student.logits]
        return {"negative_entropy": sum((log.exp() * log).sum(-1) for log in logs) / len(logs)}
