"""Everything that can be refused before a download: shapes, layer maps, roles, teachers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plmc.config.paths import check_place
from plmc.config.resolve import Run
from plmc.config.schemes import asked
from plmc.core.chain import Chain
from plmc.core.fields import moments
from plmc.core.points import parse_point
from plmc.core.setting import Dims, Setting
from plmc.core.stage import PREVIOUS, Stage
from plmc.errors import ConfigError, PlmcError
from plmc.export import extras
from plmc.measure.software import check_device
from plmc.models import load
from plmc.models.encoder import dims
from plmc.teachers.origin import started_from

# Rows of a data set nobody has looked at yet; moments given in % or epochs do not depend on it.
FEW_WANT = 1e-3
"""A rate below which a stage that trains a part of the student is likely to learn too little."""
NOMINAL_ROWS = 32_000


def check(run: Run) -> None:
    """Raises ConfigError for the first thing that cannot work. Reads model configs (a few kB), nothing else."""
    if run.output_dir.exists() and not run.output_dir.is_dir():
        raise ConfigError(f"output_dir={run.output_dir} is a file. Name a folder.")
    check_place(run.output_dir / "x", "output_dir")
    check_device(run.settings.plain.device)
    if run.settings.limits.latency_ms is not None and not run.settings.plain.latency_rows:
        raise ConfigError("limits.latency_ms needs a latency, and latency_rows=0 measures none. Set latency_rows=32")
    for plan in asked(run.settings.plain.quantize):
        extras.check(plan.packages)
    try:
        student = load.dims_of(run.student)
        made = _shapes(run)
    except PlmcError as missing:
        raise _whatever_the_shape(run) or missing from None
    parts = run.needs & {"blocks", "matrices", "heads", "units", "interface"}
    if parts or run.settings.plain.compile or run.student.layers is not None:
        load.check_parts(run.student.name, parts)
    _stages(run, student, made)
    if run.task.metric not in run.task.metrics:
        raise ConfigError(f"task.metric={run.task.metric}: {run.task.name} has {', '.join(run.task.metrics)}.")


def _shapes(run: Run) -> dict[str, Dims]:
    """The shapes of the models by the names under which stages refer to them, as far as their configs tell."""
    found = {}
    for name, spec in run.named_teachers().items():
        if spec.checkpoint:
            found[name] = dims(load.load_config(spec.checkpoint))
        elif spec.name:
            found[name] = load.dims_of(spec)
    for stage in run.recipe.stages:
        if stage.shared:
            found[stage.name] = load.dims_of(started_from(run, stage.name))
    return found


def _whatever_the_shape(run: Run) -> ConfigError | None:
    """What is wrong with any model, where the shapes are not known: this is reported before what is missing."""
    said = []
    for shape in (Dims(12, 768, 12, 3072, 30522), Dims(6, 384, 6, 1536, 30000)):
        try:
            _stages(run, shape, {name: shape for name in _names(run)})
            return None
        except ConfigError as error:
            said.append(error)
    return said[0] if str(said[0]) == str(said[1]) else None


def _names(run: Run) -> list[str]:
    known = [name for name, spec in run.named_teachers().items() if spec.known]
    return [*known, *(stage.name for stage in run.recipe.stages if stage.shared)]


def _stages(run: Run, student: Dims, made: Mapping[str, Dims]) -> None:
    first, made = student, dict(made)
    for stage in run.stages:
        if stage.student != PREVIOUS:
            own = [each.name for each in run.stages]
            student = made[stage.student] if stage.student in own else first
        if stage.name and not stage.methods:
            raise ConfigError(f"stage {stage.name} has no methods, so nothing would be trained.")
        chain = Chain(stage.methods)
        if not chain.terms():
            raise ConfigError(
                f"stage {stage.name}: no method brings a loss. Add one: recipe=finetune or recipe=kd bring theirs."
            )
        missing = [name for name in stage.carry if name not in chain]
        if missing:
            raise ConfigError(
                f"stage {stage.name}: carry={list(stage.carry)}, but the stage has no method {missing[0]}."
            )
        clock = None if _counts_updates(stage) else stage.clock(NOMINAL_ROWS)
        chain.check(
            Setting(
                stage=stage.name,
                head=run.task_of(stage).head,
                seed=run.seed,
                student=student,
                teacher=next((made[name] for name in stage.teachers if name in made), None),
                teachers=stage.teachers,
                clock=clock,
                methods=stage.methods,
                text_columns=run.task_of(stage).text,
                mlm_source=run.teacher.name,
            )
        )
        _heads(run, stage)
        made[stage.name] = student = chain.dims_after(student)


def _heads(run: Run, stage: Stage) -> None:
    """Raises ConfigError if a stage learns answers from a stage that gives others."""
    task = run.task_of(stage)
    if not any("teacher.logits" in method.required() for method in stage.methods.values()):
        return
    for name in stage.teachers:
        if name not in run.recipe.names:
            continue
        other = run.task_of(run.recipe.stage(name))
        if (other.head.kind, *other.labels) != (task.head.kind, *task.labels):
            raise ConfigError(
                f"stage {stage.name} learns {task.name} from the answers of stage {name}, which answers {other.name}. "
                f"Take a teacher of the same classes: recipe.stages.{stage.name}.teachers=teacher"
            )


def capped(run: Run) -> list[str]:
    """What the budget does not do, or does without being asked: it shortens stages and lengthens none, and its rate is
    that of all stages."""
    last, passes, rate = run.stages[-1], run.budget.epochs, run.budget.lr
    told = []
    if passes is not None and last.steps is None and passes > last.epochs:
        told.append(
            f"budget.epochs={passes:g} is a cap, and stage {last.name} makes {last.epochs:g} passes as the recipe has "
            f"it. To make it longer: epochs={passes:g}"
        )
    for stage in run.stages:
        if rate is not None and rate < FEW_WANT and Chain(stage.methods).claims():
            told.append(
                f"stage {stage.name} trains a part of the student at budget.lr={rate:g}, whatever the recipe says; few "
                f"parameters want a higher rate than all of them do: budget.lr={FEW_WANT:g}"
            )
    return told


def vocabularies(run: Run, tokenizer: Any) -> None:
    """Raises ConfigError if a stage compares teacher and student token by token and they split text differently."""
    run.task.check(tokenizer)
    for stage in run.stages:
        run.task_of(stage).check(tokenizer)
        needs = {need for method in stage.methods.values() for need in method.required() if need.startswith("teacher.")}
        head, inner = run.task_of(stage).head, needs - {"teacher.logits"}
        if not inner and not (needs and (head.per_token or head.over_vocabulary)):
            continue
        what = "hidden states or attention maps" if inner else "answer positions"
        what = "predictions of tokens" if not inner and head.over_vocabulary else what
        for name in stage.teachers:
            source = _source(run, name)
            if source in (None, run.student.name) or load.same_vocabulary(load.load_tokenizer(source), tokenizer):
                continue
            raise ConfigError(
                f"recipe {run.recipe.name} compares {what} of teacher and student, but {source} and {run.student.name} "
                "split text into different tokens. Use a teacher of the student's vocabulary, or on a classification "
                "task a recipe on logits such as kd."
            )


def _source(run: Run, name: str) -> str | None:
    """The model whose tokenizer a teacher reads with; None for a stage of this run, which has the student's."""
    if name in run.recipe.names:
        return started_from(run, name).name if run.recipe.stage(name).shared else None
    spec = run.named_teachers()[name]
    return spec.checkpoint or spec.name


def _counts_updates(stage) -> bool:
    """Whether some moment is given in updates, which only the real number of rows can place."""
    points = [parse_point(point) for method in stage.methods.values() for point in moments(method).values()]
    return any(unit == "step" and number for number, unit in points)
