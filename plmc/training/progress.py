"""What the loop tells the outside, what it keeps of itself, and what comes out of a stage."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass
class Progress:
    """What the loop reports, once in `every` updates: hooks with no effect on training."""

    log: Callable[[Mapping[str, float], int], None] = lambda values, step: None
    advance: Callable[[int, Mapping[str, float]], None] = lambda step, values: None
    warn: Callable[[str], None] = lambda text: None
    every: int = 10


@dataclass
class Outcome:
    """Result of a stage: `metrics` of the weights that were kept, their update, updates made, seconds trained, and how
    many parameters had a gradient (extra modules included)."""

    metrics: dict[str, float]
    best_step: int
    steps: int
    seconds: float
    samples: int
    trained_parameters: int


@dataclass
class Position:
    """The loop's own state, all of it in the checkpoint."""

    step: int = 0
    seconds: float = 0.0
    samples: int = 0
    best: float = -math.inf
    best_step: int = -1
    best_metrics: dict[str, float] = field(default_factory=dict)
    stale: int = 0
    stopped: bool = False
    warnings: list[str] = field(default_factory=list)
