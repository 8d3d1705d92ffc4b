"""Stages as a graph: which stage takes its student or its teachers from which."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from plmc.core.stage import FRESH, PRETRAINED, PREVIOUS, TEACHER, Stage
from plmc.errors import ConfigError
from plmc.names import did_you_mean

_STUDENTS = (PREVIOUS, FRESH, TEACHER)
RESERVED = (*_STUDENTS, PRETRAINED)
"""Names with a meaning of their own, which no stage may have that others refer to."""


def named(stage: Stage) -> list[str]:
    """The stages, and teachers of the config, that a stage refers to by name."""
    student = [stage.student] if isinstance(stage.student, str) and stage.student not in _STUDENTS else []
    return [*student, *(name for name in stage.teachers if name not in (TEACHER, PRETRAINED))]


def check(stages: Iterable[Stage], teachers: Collection[str] = ()) -> None:
    """Raises ConfigError where a stage refers to what is not there, comes later, or goes round in a circle.

    Args:
        stages: in listed order.
        teachers: names of further teachers.
    """
    listed = {stage.name: stage for stage in stages}
    for name in (*listed, *teachers):
        if name in RESERVED:
            raise ConfigError(f"{name} means something else in a stage's student and teachers. Take another name.")
    if both := sorted(set(listed) & set(teachers)):
        raise ConfigError(f"{both[0]} is a stage and an entry of teachers. Give one of them another name.")
    made: set[str] = set()
    for stage in listed.values():
        if isinstance(stage.student, str) and stage.student in teachers:
            raise ConfigError(
                f"stage {stage.name}: student={stage.student} is an entry of teachers. A student comes from a stage, "
                f"or is a model: student={{name: …}}"
            )
        for name in named(stage):
            if name in teachers:
                continue
            if name not in listed:
                raise ConfigError(
                    f"stage {stage.name} refers to {name}, and the recipe has no such stage."
                    f"{did_you_mean(name, [*listed, *teachers, *RESERVED])}"
                )
            if not listed[name].shared and name not in made:
                raise ConfigError(
                    f"stage {stage.name} refers to stage {name}, which is trained after it. List {name} first, or make "
                    f"it a run of its own: recipe.stages.{name}.shared=true"
                )
            if stage.shared and not listed[name].shared:
                raise ConfigError(
                    f"stage {stage.name} is shared and refers to {name}, which every run trains anew. Share it, too: "
                    f"recipe.stages.{name}.shared=true"
                )
        if not stage.shared:
            made.add(stage.name)
    try:
        TopologicalSorter({name: [n for n in named(stage) if n in listed] for name, stage in listed.items()}).prepare()
    except CycleError as error:
        raise ConfigError(f"the stages {' → '.join(error.args[1])} refer to each other in a circle.") from error


def behind(name: str, stages: Mapping[str, Stage]) -> list[str]:
    """The stages that stage `name` needs, directly or through others, in listed order; itself left out."""
    found: set[str] = set()
    open_ = [name]
    while open_:
        for other in named(stages[open_.pop()]):
            if other in stages and other not in found:
                found.add(other)
                open_.append(other)
    return [other for other in stages if other in found]
