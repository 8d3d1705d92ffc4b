"""What a stage's student is made of, where that is a teacher or the model of another stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from plmc.config.resolve import Run
from plmc.core.stage import FRESH, PREVIOUS, TEACHER, Stage
from plmc.models.spec import ModelSpec
from plmc.teachers.make import Trained, key


def origin(run: Run, stage: Stage, trained: Mapping[str, Trained]) -> str | None:
    """The teacher or stage that a stage's student comes from; None for the run's student as its files have it.

    A language model has a head in its files that belongs to it, so its student starts from the teacher, which has one.
    """
    if stage.student == PREVIOUS and not run.task.head.supervised and key(run, TEACHER, run.task_of(stage)) in trained:
        return TEACHER
    return None if stage.student in (PREVIOUS, FRESH) else str(stage.student)


def started_from(run: Run, name: str) -> ModelSpec:
    """What the teacher, or the model of stage `name`, was made of."""
    if name == TEACHER:
        return run.teacher
    stage = run.recipe.stage(name)
    if isinstance(stage.student, ModelSpec):
        return stage.student
    if not stage.shared or stage.student in (PREVIOUS, FRESH):
        return run.student
    return started_from(run, stage.student)


def made_of(run: Run, name: str, trained: Trained) -> ModelSpec | None:
    """The run's student, made of the trained model `name`: its layers taken from there. None if that is made of another
    model than the run's student."""
    own, given = run.student, started_from(run, name)
    shape = lambda spec: (spec.name, spec.layers, spec.pick, spec.shape)  # noqa: E731
    if shape(own) == shape(given):
        return ModelSpec(name=trained.folder)
    if own.name == given.name and own.shape is None and given.layers is None and given.shape is None:
        return replace(own, name=trained.folder, revision=None)
    return None
