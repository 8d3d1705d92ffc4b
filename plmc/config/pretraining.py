"""Masked-language-model stages in a run: which there are, their task, and who teaches them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from plmc.errors import ConfigError

if TYPE_CHECKING:
    from plmc.config.resolve import Run
    from plmc.core.stage import Stage
    from plmc.heads.base import Head
    from plmc.tasks.base import Task


def stages_for(described: Mapping[str, Any], head: Head) -> dict[str, Any]:
    """A recipe's stages for a task with this head: those that are for it; on running text all train on the task's own.

    A stage set to null (`recipe.stages.qat=null`) is left out.
    """
    there = {name: dict(stage) for name, stage in described.items() if stage is not None}
    kept = {name: stage for name, stage in there.items() if not stage.get("kinds") or head.kind in stage["kinds"]}
    if not head.supervised:
        for stage in kept.values():
            stage |= {"mlm": stage.get("mlm") or {}, "data": "task"}
    return kept


def stage_task(run: Run, stage: Stage) -> Task:
    """The task that a stage trains: the run's, or the masked language model of its corpus."""
    if stage.mlm is None:
        return run.task
    if not run.task.head.supervised:
        return replace(run.task, **stage.mlm)
    from plmc.tasks.mlm import MaskedLM

    try:
        return MaskedLM(**{"corpus": stage.corpus, "rows": stage.corpus_rows, **stage.mlm})
    except TypeError as error:
        raise ConfigError(
            f"stage {stage.name}: mlm={dict(stage.mlm)}: {error}. It takes the fields of task=mlm."
        ) from error


def taught_stage(run: Run) -> Stage | None:
    """The first stage that learns from the teacher as a masked language model."""
    for stage in run.recipe.stages:
        needs = (need for method in stage.methods.values() for need in method.required())
        if stage.mlm is not None and any(need.startswith("teacher.") for need in needs):
            return stage
    return None
