"""Shares of a whole, written as a fraction or in per cent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plmc.core.points import parse_point
from plmc.errors import ConfigError

if TYPE_CHECKING:
    Sparsity = float
else:
    # Written in a config as 0.9 or "90%"; a method turns it into a float when it is built.
    Sparsity = float | str


def share(value: float | str, key: str) -> float:
    """A sparsity written as `0.9` or `"90%"`, as a fraction in [0, 1). Raises ConfigError on anything else."""
    text = str(value).strip()
    try:
        fraction = parse_point(text)[0] / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise ConfigError(f"{key}={value} is not a sparsity. Write 0.9 or 90%.") from None
    if not 0 <= fraction < 1:
        raise ConfigError(f"{key}={value}: a sparsity is at least 0 and below 1. Write 0.9 or 90%.")
    return fraction
