"""Masked-language-model stages in a run: their task, and how their teacher is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from plmc.core.fields import Checked, Count, Epochs, Rate, verify
from plmc.errors import ConfigError

if TYPE_CHECKING:
    from plmc.config.resolve import Run
    from plmc.core.stage import Stage
    from plmc.tasks.base import Task


@dataclass(frozen=True, kw_only=True)
class MLMTeacher(Checked):
    """How the pre-trained teacher becomes a masked language model of a stage's corpus.

    `train`: `auto` takes a model that comes with its language model head as it is; `all` trains it on on the corpus
    (teacher preparation of Prune OFA: `epochs` or `steps` updates at the peak rate `lr`). A model without a head gets one
    first, on the frozen encoder (`head_epochs`, `head_lr`). It is made once for each model, corpus and seed.
    """

    config_label: ClassVar[str] = "teacher.mlm"

    train: Literal["auto", "all"] = "auto"
    epochs: Epochs = 1
    steps: Count | None = None
    lr: Rate = 5e-5
    head_epochs: Epochs = 1
    head_lr: Rate = 1e-3
    batch_size: Count = 32


def options(given: Any) -> MLMTeacher:
    """`MLMTeacher` from what a config holds. Raises ConfigError for a field that it does not have."""
    if isinstance(given, MLMTeacher):
        return given
    verify(MLMTeacher, given, "teacher.mlm")
    return MLMTeacher(**given)


def stages_for(described: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """A recipe's stages for a task of `kind`: those that are for it; on `mlm` all train on the task's own text.

    A stage set to null (`recipe.stages.qat=null`) is left out.
    """
    there = {name: dict(stage) for name, stage in described.items() if stage is not None}
    kept = {name: stage for name, stage in there.items() if not stage.get("kinds") or kind in stage["kinds"]}
    if kind == "mlm":
        for stage in kept.values():
            stage |= {"mlm": stage.get("mlm") or {}, "data": "task"}
    return kept


def stage_task(run: Run, stage: Stage) -> Task:
    """The task that a stage trains: the run's, or the masked language model of its corpus."""
    if stage.mlm is None:
        return run.task
    if run.task.kind == "mlm":
        return replace(run.task, **stage.mlm)
    from plmc.tasks.mlm import MaskedLM

    try:
        return MaskedLM(**{"corpus": stage.corpus, "rows": stage.corpus_rows, **stage.mlm})
    except TypeError as error:
        raise ConfigError(f"stage {stage.name}: mlm={dict(stage.mlm)}: {error}. It takes the fields of task=mlm.") from error


def taught_stage(run: Run) -> Stage | None:
    """The first stage that learns from the teacher as a masked language model."""
    for stage in run.recipe.stages:
        needs = (need for method in stage.methods.values() for need in method.required())
        if stage.mlm is not None and any(need.startswith("teacher.") for need in needs):
            return stage
    return None
