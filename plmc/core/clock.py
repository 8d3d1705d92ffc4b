"""How far a stage has trained, and points in time given as `30%`, `2ep` or a number of updates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from plmc.core.fields import Moment
from plmc.core.points import parse_point


@dataclass(frozen=True)
class Clock:
    """Read-only position in a stage.

    `step` optimizer updates are done, of `total`; one epoch has `steps_per_epoch` updates.

    Attributes:
        repeated: the forward is of a further pass over rows that this update has seen already, as sharpness-aware
            methods make at another point.
        done: the stage has ended; what `Method.weights` gives now is its result.
    """

    step: int
    total: int
    steps_per_epoch: int
    repeated: bool = False
    done: bool = False

    @property
    def epoch(self) -> float:
        """Epochs done, as a real number."""
        return self.step / self.steps_per_epoch

    @property
    def progress(self) -> float:
        """Share of the stage that is done, 0 to 1."""
        return self.step / self.total

    def at(self, point: Point) -> int:
        """The update of this stage that `point` means (rounded up), not beyond the end."""
        number, unit = parse_point(point)
        if unit == "%":
            # The tiny slack keeps 30 % of 10 at 3 although 0.3 * 10 is 3.0000000000000004 in binary.
            step = math.ceil(number / 100 * self.total - 1e-9)
        elif unit == "ep":
            step = math.ceil(number * self.steps_per_epoch - 1e-9)
        else:
            step = int(number)
        return min(step, self.total)


BEGINNING = Clock(0, 1, 1)
"""The begin of a stage whose length is not known yet, as before any row is read."""

Point = Annotated[str | int, Moment()]
"""A moment in a stage: `"30%"` of its updates, `"2ep"` epochs, or a number of updates."""
