"""Points in a stage, written as `30%`, `2ep` or a number of updates."""

from __future__ import annotations

import re

from plmc.errors import ConfigError

_FARTHEST = 1e9
_POINT = re.compile(r"^\s*(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>%|ep|epochs?|steps?)?\s*$")


def parse_point(point: str | int) -> tuple[float, str]:
    """`(number, unit)` with unit `%`, `ep` or `step`. Raises ConfigError on anything else."""
    match = _POINT.match(str(point))
    if not match:
        raise ConfigError(
            f"{point!r} is not a moment in training. Write 30% (of the stage), 2ep (epochs) or 500 (updates)."
        )
    number, unit = float(match["number"]), match["unit"] or "step"
    unit = "ep" if unit.startswith("ep") else "step" if unit.startswith("step") else unit
    if unit == "%" and number > 100:
        raise ConfigError(f"{point!r} is beyond the end of the stage; use 0% to 100%.")
    if number > _FARTHEST:
        raise ConfigError(f"{point!r} is farther away than any stage lasts; use up to {_FARTHEST:g}.")
    if unit == "step" and number != int(number):
        raise ConfigError(f"{point!r}: a number of updates is whole. For a share of the stage write {number * 100:g}%.")
    return number, unit
