"""Where a stage stands in its training, and points in time given as `30%`, `2ep` or a number of updates."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated

from plmc.core.fields import Moment
from plmc.errors import ConfigError

_FARTHEST = 1e9
_POINT = re.compile(r"^\s*(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>%|ep|epochs?|steps?)?\s*$")


@dataclass(frozen=True)
class Clock:
    """Read-only position in a stage.

    `step` optimizer updates are done, of `total`; one epoch has `steps_per_epoch` updates. `repeated`: the forward is
    of a further pass over rows that this update has seen already, as sharpness-aware methods make at another point.
    """

    step: int
    total: int
    steps_per_epoch: int
    repeated: bool = False

    @property
    def epoch(self) -> float:
        """Epochs done, as a real number."""
        return self.step / self.steps_per_epoch

    @property
    def progress(self) -> float:
        """Share of the stage that is done, 0 to 1."""
        return self.step / self.total

    def at(self, point: Point) -> int:
        """The update at which `point` lies in this stage (rounded up), not beyond the end."""
        number, unit = parse_point(point)
        if unit == "%":
            # The tiny slack keeps 30 % of 10 at 3 although 0.3 * 10 is 3.0000000000000004 in binary.
            step = math.ceil(number / 100 * self.total - 1e-9)
        elif unit == "ep":
            step = math.ceil(number * self.steps_per_epoch - 1e-9)
        else:
            step = int(number)
        return min(step, self.total)


Point = Annotated[str | int, Moment()]
"""A moment in a stage: `"30%"` of its updates, `"2ep"` epochs, or a number of updates."""


def parse_point(point: Point) -> tuple[float, str]:
    """`(number, unit)` with unit `%`, `ep` or `step`. Raises ConfigError on anything else."""
    match = _POINT.match(str(point))
    if not match:
        raise ConfigError(
            f"{point!r} is not a moment in training. Write 30% (of the stage), 2ep (epochs) or 500 (updates)."
        )
    number, unit = float(match["number"]), match["unit"] or "step"
    unit = "ep" if unit.startswith("ep") else "step" if unit.startswith("step") else unit
    if unit == "%" and number > 100:
        raise ConfigError(f"{point!r} lies beyond the end of the stage; use 0% to 100%.")
    if number > _FARTHEST:
        raise ConfigError(f"{point!r} is farther away than any stage lasts; use up to {_FARTHEST:g}.")
    if unit == "step" and number != int(number):
        raise ConfigError(f"{point!r}: a number of updates is whole. For a share of the stage write {number * 100:g}%.")
    return number, unit
