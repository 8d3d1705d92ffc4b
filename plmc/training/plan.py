"""What a trainer is told: which stage, where it is saved, and how it is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from plmc.core.clock import Clock
from plmc.core.stage import Stage
from plmc.training.order import Mix


@dataclass(frozen=True)
class Plan:
    """What is trained: a stage in its place in the run.

    Attributes:
        stage: updates, rates, methods.
        clock: of the stage, at step 0.
        index: of the stage in the run; with `seed` it decides the order of rows.
        first_step: where the stage begins on the run's one step axis.
        mix: the order of rows of several feeds.
        precision: `fp32`, `bf16`, or `fp16`, which scales the loss.
    """

    stage: Stage
    clock: Clock
    index: int = 0
    seed: int = 0
    first_step: int = 0
    precision: str = "fp32"
    mix: Mix | None = None


@dataclass(frozen=True)
class Saving:
    """Where `checkpoint.pt` and `best.pt` are, whose they are, and how often the first is written.

    Attributes:
        folder: of the stage.
        signature: of the run: a checkpoint of another one is refused.
        seconds: between two checkpoints; 0 = none.
        steps: updates between two checkpoints, in place of `seconds`.
    """

    folder: Path
    signature: str
    seconds: float = 60.0
    steps: int | None = None


@dataclass(frozen=True)
class Judge:
    """How a model is judged: `evaluate(model) -> metrics`, of which `metric` chooses the best weights."""

    evaluate: Callable[[nn.Module], dict[str, float]]
    metric: str
