"""A stage: task, rows, student, teachers, methods, optimizer and budget. A recipe: the graph of its stages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from plmc.core.clock import Clock, Point
from plmc.core.fields import Added, Checked, Count, Decay, Epochs, FileName, NotNegative, Positive, Rate
from plmc.core.method import Method
from plmc.core.points import parse_point
from plmc.errors import ConfigError

PREVIOUS, FRESH, TEACHER, PRETRAINED = "previous", "fresh", "teacher", "pretrained"
"""Where a stage's models come from, apart from other stages: see `Stage.student` and `Stage.teachers`."""

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
        task: what is learnt; None: the run's task. Where two stages learn different tasks, the second gets a new head.
        feeds: the rows, by name: each a `plmc.tasks.feed.Feed`. Empty: the training rows of the task.
        mix: how several feeds share the updates; see `plmc.training.order.Mix`.
        student: where the model comes from. `previous`: from the stage before; the first one starts from the run's
            student. `fresh`: the run's student once more. `teacher`: the run's teacher as it is trained on the stage's
            task. The name of a stage: the model that this stage made. Of a teacher or stage the run's student takes its
            layers, if that is what it is made of. A `ModelSpec`: another model, for shared stages.
        teachers: whose outputs the methods see: `teacher` (the run's teacher, trained on the stage's task),
            `pretrained` (the same model before any fine-tuning), names of stages, names in the config's `teachers`.
        shared: the stage is a run of its own, trained once for all runs that contain it, and only where another stage
            names it.
        keep: the model as the stage leaves it stays in `RUN/models/STAGE`, to start other runs from.
        kinds: kinds of task that the stage is for (null = all); a run on another kind leaves it out.
    """

    # Fields of earlier versions, with the values that mean what today's defaults do: they keep a run's identity.
    former: ClassVar[Mapping[str, Any]] = {
        "data": "task",
        "corpus": None,
        "corpus_rows": None,
        "teacher": "finetuned",
        "mlm": None,
    }

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
    task: Annotated[Any, Added(None)] = None
    feeds: Annotated[Any, Added({})] = field(default_factory=dict)
    mix: Annotated[Literal["shuffled", "in_turn", "together"], Added("shuffled")] = "shuffled"
    student: Annotated[Any, Added(PREVIOUS)] = PREVIOUS
    teachers: Annotated[Any, Added((TEACHER,))] = (TEACHER,)
    shared: Annotated[bool, Added(False)] = False
    keep: Annotated[bool, Added(False)] = False
    kinds: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        given = self.teachers
        self.teachers = (given,) if isinstance(given, str) else tuple(given or ())
        if twice := next((name for name in self.teachers if self.teachers.count(name) > 1), None):
            raise ConfigError(f"stage {self.name}: teachers={list(self.teachers)} names {twice} twice.")
        if self.mix == "together" and self.batch_size < len(self.feeds):
            raise ConfigError(
                f"stage {self.name}: mix=together needs a row of each of its {len(self.feeds)} feeds in every update "
                f"of {self.batch_size} rows. Set a larger batch_size, or mix=in_turn."
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

    @property
    def learns(self) -> bool:
        """Whether some method looks at a teacher."""
        return any(need.startswith("teacher.") for method in self.methods.values() for need in method.required())

    def clock(self, rows: int, cap: int | None = None) -> Clock:
        """The clock at step 0 for `rows` training rows; no more than `cap` updates."""
        per_epoch = max(1, math.ceil(rows / self.batch_size))
        total = self.steps if self.steps is not None else max(1, math.ceil(self.epochs * per_epoch - 1e-9))
        return Clock(0, min(total, cap) if cap else total, per_epoch)


@dataclass(kw_only=True)
class Recipe(Checked):
    """A named graph of stages; those that are not shared run in listed order.

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
        if not self.own:
            raise ConfigError(f"recipe {self.name} has no stages of its own.")

    @property
    def own(self) -> tuple[Stage, ...]:
        """The stages that a run trains itself: those that are not shared."""
        return tuple(stage for stage in self.stages if not stage.shared)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all stages."""
        return tuple(stage.name for stage in self.stages)

    def stage(self, name: str) -> Stage:
        """The stage of this name."""
        return next(stage for stage in self.stages if stage.name == name)
