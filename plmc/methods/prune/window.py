"""What pruning that grows over a window of updates checks of its fields, and when it acts."""

from __future__ import annotations

from plmc.core.points import parse_point
from plmc.core.shares import share
from plmc.errors import ConfigError


def growing(initial: float | str, final: float | str) -> tuple[float, float]:
    """Both sparsities as fractions. Raises ConfigError if one is none, or the first is above the second."""
    first, last = share(initial, "initial"), share(final, "final")
    if first > last:
        raise ConfigError(f"initial={first:g} is above final={last:g}. Swap them: sparsity only grows.")
    return first, last


def above_zero(example: str, **points: str | int | None) -> None:
    """Raises ConfigError for a period of 0; `example` is one that works. None is none."""
    for key, point in points.items():
        if point is not None and parse_point(point)[0] <= 0:
            raise ConfigError(f"{key}={point} must be above zero. Write for example {key}={example}")


def due(step: int, begin: int, end: int, period: int) -> bool:
    """Whether pruning acts after `step` updates: at the end, and each `period` inside the window."""
    return step == end or (begin < step < end and (step - begin) % period == 0)
