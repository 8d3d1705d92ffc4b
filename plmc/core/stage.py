"""A stage: methods, optimizer, schedule and budget. A recipe: stages in order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from plmc.core.clock import Clock, Point
from plmc.core.fields import Checked, Count, Decay, Epochs, FileName, NotNegative, Positive, Rate
from plmc.core.method import Method
from plmc.core.points import parse_point
from plmc.errors import ConfigError

# Schedules of `transformers.get_scheduler` that are a plain factor of the rate and need no arguments beyond the
# warm-up.
Schedule = Literal[
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
]


@dataclass(kw_only=True)
class Stage(Checked):
    """One stretch of training with its own optimizer.

    Attributes:
        methods: by name, in listed order.
        epochs: passes over the stage's rows; `steps` (updates) wins where given.
        batch_size: rows of an update.
        micro_batch: rows of one forward (null = all), gradients of the parts are summed with weights so that the update
            equals the large batch.
        lr: peak rate.
        schedule: one of `Schedule`.
        warmup: a moment such as 6%.
        clip: largest joint gradient norm (0 = off).
        eval_every: a moment that repeats.
        select: `best` keeps the best evaluated weights by the task's first metric, `last` the final ones.
        patience: evaluations without a new best before the stage ends early (null = never).
        carry: methods whose state goes on to the same-named method of the next stage.
        data: `task` rows or `corpus` (unlabelled text, see `corpus`).
        teacher: `finetuned`, or `pretrained` for general distillation.
        mlm: options of `plmc.tasks.mlm.MaskedLM`; given, be it empty, the stage trains a masked language model on
            `corpus`, taught by the pre-trained teacher with its language model head.
        kinds: kinds of task that the stage is for (null = all); a run on another kind leaves it out.
    """

    name: str
    methods: Mapping[str, Method]
    epochs: Epochs = 3
    steps: Count | None = None
    batch_size: Count = 32
    micro_batch: Count | None = None
    lr: Rate = 5e-5
    weight_decay: NotNegative = 0.01
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    eps: Positive = 1e-8
    schedule: Schedule = "linear"
    warmup: Point = "6%"
    clip: NotNegative = 1.0
    eval_every: Point = "1ep"
    select: Literal["best", "last"] = "best"
    patience: Count | None = None
    carry: tuple[str, ...] = ()
    data: Literal["task", "corpus"] = "task"
    corpus: str | None = None
    corpus_rows: Count | None = None
    teacher: Literal["finetuned", "pretrained"] = "finetuned"
    mlm: Mapping[str, Any] | None = None
    kinds: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.data == "corpus" and not self.corpus:
            raise ConfigError(
                f"stage {self.name}: data=corpus needs text: corpus=FILE.txt, corpus=embedded or a Hub id."
            )
        if self.micro_batch is not None and self.micro_batch < self.batch_size:
            for name, method in self.methods.items():
                if "whole_batch" in method.required():
                    raise ConfigError(
                        f"stage {self.name}: {name} compares the rows of an update with each other, which "
                        f"micro_batch={self.micro_batch} would cut into parts. Set micro_batch=null, or a smaller "
                        "batch_size."
                    )
        if parse_point(self.eval_every)[0] <= 0:
            raise ConfigError(f"stage {self.name}: eval_every={self.eval_every!r} must be greater than 0.")

    def clock(self, rows: int, cap: int | None = None) -> Clock:
        """The clock at step 0 for `rows` training rows; no more than `cap` updates."""
        per_epoch = max(1, math.ceil(rows / self.batch_size))
        total = self.steps if self.steps is not None else max(1, math.ceil(self.epochs * per_epoch - 1e-9))
        return Clock(0, min(total, cap) if cap else total, per_epoch)


@dataclass(kw_only=True)
class Recipe(Checked):
    """A named sequence of stages.

    Attributes:
        title: for tables and model cards.
        paper: see `title`.
    """

    config_label: ClassVar[str] = "recipe"

    name: FileName
    stages: tuple[Stage, ...]
    title: str = ""
    paper: str = ""
    requires: str = ""
    notes: tuple[str, ...] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        if not self.stages:
            raise ConfigError(f"recipe {self.name} has no stages.")
