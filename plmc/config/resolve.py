"""From composed YAML to a `Run`: objects built, conflicts refused, identity computed. Nothing is downloaded here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmc.config.build import build
from plmc.config.identity import hashed
from plmc.config.moved import current, translated
from plmc.config.paths import digest, place
from plmc.config.schema import Budget, Root, Settings, read_root
from plmc.config.schemes import asked
from plmc.config.stages import stages as stages_of
from plmc.core.stage import PRETRAINED, TEACHER, Recipe, Stage
from plmc.data.source import Source
from plmc.errors import ConfigError
from plmc.models.spec import ModelSpec
from plmc.tasks.base import Task

if TYPE_CHECKING:
    from plmc.teachers.spec import TeacherSpec


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything about one training run.

    Attributes:
        config: the resolved config as plain containers: what is written down, and what other runs are derived from.
        settings: the top of it, typed.
        signature: the name of the run's folder.
        precision: `fp32`, `bf16` or `fp16`.
        teachers: further teachers by name.
        role: `student` or `teacher`.
        command: what trains this run alone.
        sweep: the command of the sweep that it belongs to; empty without one.
    """

    config: Mapping[str, Any]
    settings: Settings
    signature: str
    task: Task
    source: Source
    teacher: TeacherSpec
    student: ModelSpec
    recipe: Recipe
    precision: str
    teachers: Mapping[str, TeacherSpec] = field(default_factory=dict)
    role: str = "student"
    command: str = ""
    sweep: str = ""

    @property
    def seed(self) -> int:
        """Of weights, rows, dropout and augmentation."""
        return self.settings.plain.seed

    @property
    def budget(self) -> Budget:
        """What shrinks the recipe."""
        return self.settings.budget

    @property
    def output_dir(self) -> Path:
        """Root of runs, teachers, caches and the MLflow store."""
        return Path(self.config["output_dir"])

    @property
    def folder(self) -> Path:
        """The folder of this run."""
        return self.output_dir / ("teachers" if self.role == "teacher" else "") / self.signature

    @property
    def cache(self) -> Path:
        """Tokenised rows and teacher outputs, shared by all runs of `output_dir`."""
        return self.output_dir / "cache"

    @property
    def label(self) -> str:
        """A short name of the arm: the recipe, and the methods that the command line added."""
        return "+".join([self.recipe.name, *self.config["methods"]])

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that this run trains, in order."""
        return self.recipe.own

    @property
    def needs(self) -> frozenset[str]:
        """What all methods of all stages need."""
        return frozenset().union(*(m.required() for stage in self.stages for m in stage.methods.values()))

    def task_of(self, stage: Stage) -> Task:
        """What a stage learns."""
        return self.task if stage.task is None else stage.task

    def source_of(self, task: Task) -> Source:
        """Where the rows of a task come from."""
        return self.source if task is self.task else source_of(self.config, task)

    @property
    def taught_by(self) -> str | None:
        """The teacher, as its stage calls it, of the last stage that learns the run's task from one; None without."""
        names = [
            name
            for stage in self.stages
            if stage.learns and stage.task is None
            for name in stage.teachers[:1]
            if name != PRETRAINED
        ]
        return names[-1] if names else None

    @property
    def learns_from_teacher(self) -> bool:
        """Whether some stage learns the run's task from a teacher that is trained on it."""
        return self.taught_by is not None

    def named_teachers(self) -> dict[str, TeacherSpec]:
        """The teachers of the config by the names under which stages refer to them."""
        return {TEACHER: self.teacher, PRETRAINED: self.teacher, **self.teachers}


def _check_recipe(recipe: Mapping[str, Any]) -> None:
    """Raises ConfigError if a recipe's node is not built as a recipe is."""
    if "name" not in recipe:
        raise ConfigError("recipe.name is missing: a recipe's file begins with its name, such as name: my_recipe")
    stages = recipe.get("stages") or {}
    if not isinstance(stages, Mapping) or not all(isinstance(stage or {}, Mapping) for stage in stages.values()):
        raise ConfigError("recipe.stages must map names to settings: stages: {distil: {methods: {…}}}")
    for name, stage in stages.items():
        if stage and not isinstance(stage.get("methods") or {}, Mapping):
            raise ConfigError(
                f"recipe.stages.{name}.methods must map names to methods: methods: {{kd: {{_target_: …}}}}"
            )


def _signature(run: Run) -> str:
    """Readable prefix and a hash of everything that can change the result."""
    own = {TEACHER, PRETRAINED}
    looked_at = any((stage.learns and own & set(stage.teachers)) or stage.student in own for stage in run.recipe.stages)
    named = {name for stage in run.recipe.stages if stage.learns for name in stage.teachers}
    further = {name: spec for name, spec in run.teachers.items() if name in named}
    told = {
        "task": run.task,
        "data": run.source,
        "teacher": run.teacher if looked_at else None,
        "student": run.student,
        "stages": run.recipe.stages,
        "budget": run.budget,
        "seed": run.seed,
        "precision": run.precision,
        "compile": run.settings.plain.compile,
        **({"teachers": further} if further else {}),
        # Rows that the task names, it names as content; those of a folder are known by these digests only.
        "rows": {key: value for key, value in run.config["files"].items() if key.startswith("data.")},
    }
    return f"{run.recipe.name}-{run.task.name}-{run.seed}-{hashed(told)}"


def resolve(config: Mapping[str, Any], *, role: str = "student", command: str = "", sweep: str = "") -> Run:
    """A `Run` from the composed config as plain containers. Raises ConfigError for what cannot work."""
    made = current(json.loads(json.dumps(config)))  # plain, ours, and proof that it can be stored
    return _resolved(translated(dict(made)), role=role, command=command, sweep=sweep)


def _resolved(config: dict[str, Any], *, role: str, command: str, sweep: str) -> Run:
    settings = read_root(config)
    _check_recipe(config["recipe"])
    asked(config.get("quantize"))
    place(config)
    task = build(config["task"], "task")
    source = source_of(config, task)
    config["files"] |= {f"data.{split}": digest(str(path)) for split, path in source.paths(task).items()}
    teacher = build(config["teacher"], "teacher")
    teachers = {name: build(node, f"teachers.{name}") for name, node in (config.get("teachers") or {}).items()}
    if config["student"].get("name") is None:
        raise ConfigError(
            "there is no teacher to take the student's layers from; name the student: student=base student.name=…"
        )
    for group in ("teacher", "student", "data"):
        if config[group].get("revision", "") is None:
            del config[group]["revision"]
    if config["student"]["name"] == config["teacher"].get("name") and config["teacher"].get("revision"):
        # A student made of the teacher's layers is made of that very teacher.
        config["student"].setdefault("revision", config["teacher"]["revision"])
    student = build(config["student"], "student")
    stages = stages_of(config, task)
    for stage in stages:
        tasks = {stage.name: stage.task} | {f"{stage.name}.{name}": feed.task for name, feed in stage.feeds.items()}
        for where, other in tasks.items():
            if other is not None and other.own_source is None:
                paths = source_of(config, other).paths(other)
                config["files"] |= {f"data.{where}.{split}": digest(str(path)) for split, path in paths.items()}
    described = {k: v for k, v in config["recipe"].items() if k in ("name", "title", "paper", "requires", "notes")}
    recipe = Recipe(stages=stages, **described)
    config["precision"] = _precision(settings.plain, recipe.own)
    run = Run(
        config=config,
        settings=settings,
        signature="",
        task=task,
        source=source,
        teacher=teacher,
        student=student,
        recipe=recipe,
        precision=config["precision"],
        teachers=teachers,
        role=role,
        command=command,
        sweep=sweep,
    )
    return replace(run, signature=_signature(run))


def source_of(config: Mapping[str, Any], task: Task) -> Source:
    """Where the rows of a task come from: its own files, or what `data=` names."""
    found: Source = task.own_source or build(config["data"], "data")
    return found


def _precision(plain: Root, stages: Sequence[Stage]) -> str:
    """The precision that `auto` means here. Methods that half precision breaks get fp32, or a refusal."""
    import torch

    asked = plain.precision
    if names := [m.name for stage in stages for m in stage.methods.values() if "fp32" in m.required()]:
        if asked in ("bf16", "fp16"):
            raise ConfigError(
                f"{', '.join(names)} does not work in {asked}: its effect is below what {asked} can hold. Use "
                "precision=fp32."
            )
        return "fp32"
    gpu = plain.device != "cpu" and torch.cuda.is_available()
    if asked == "fp16" and not gpu:
        raise ConfigError(
            "precision=fp16 is for GPUs, and there is none here or device=cpu. Use precision=bf16 or fp32."
        )
    if asked != "auto":
        return asked
    if gpu:
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    # Without instructions for it (AMX, AVX512-BF16), bf16 on a CPU is emulated and slower.
    can = torch.cpu.get_capabilities()
    return "bf16" if can.get("amx_bf16") or can.get("avx512_bf16") else "fp32"
