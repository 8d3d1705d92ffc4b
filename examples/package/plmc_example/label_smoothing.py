"""Label smoothing as a loss term."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from plmc.core.clock import BEGINNING, Clock
from plmc.core.fields import NotNegative
from plmc.core.method import Method
from plmc.core.view import View


@dataclass
class LabelSmoothing(Method):
    """Cross-entropy to the uniform distribution: the part of label smoothing that is not the gold term.

    L = weight · mean over rows of -(1/C) Σ_c log softmax(z)_c, z `(B, C)` (Szegedy et al. 2016, arXiv 1512.00567,
    Section 7, without their factor 1 - ε of the gold term). `weight`: 0 switches it off. Term: `uniform`. Needs
    nothing. Composes with everything.
    """

    weight: NotNegative = 0.1

    def terms(self, clock: Clock = BEGINNING) -> dict[str, float]:
        return {"uniform": self.weight} if self.weight else {}

    def losses(self, view: View, clock: Clock) -> dict[str, Tensor]:
        if not self.weight:
            return {}
        parts = [-part.log_softmax(-1).mean(-1) for part in view.student.logits]
        return {"uniform": sum(parts) / len(parts)}
