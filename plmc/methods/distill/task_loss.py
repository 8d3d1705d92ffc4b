"""Plain fine-tuning as a method: the hard-label loss of the task."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from plmc.core.clock import BEGINNING, Clock
from plmc.core.fields import Positive
from plmc.core.method import Method
from plmc.core.view import View


@dataclass
class TaskLoss(Method):
    """Gold-label loss: cross-entropy (also of masked tokens), squared error, or the mean of start and end
    cross-entropy.

    Term: `ce` (also for regression).

    Composes badly with `LogitKD` of `alpha > 0`, which has its own gold term: the two add up.

    Attributes:
        weight: its share of the stage's loss.

    Raises:
        ConfigError: on a weight that is not positive.
    """

    weight: Positive = 1.0

    def terms(self, clock: Clock = BEGINNING) -> dict[str, float]:
        return {"ce": self.weight}

    def losses(self, view: View, clock: Clock) -> dict[str, Tensor]:
        return {"ce": view.head.gold(view)}
