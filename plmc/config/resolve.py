"""From composed YAML to a `Run`: objects built, conflicts refused, identity computed. Nothing is downloaded here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmc.config.identity import hashed
from plmc.config.moved import current
from plmc.config.paths import digest, place
from plmc.config.pretraining import stages_for, taught_stage
from plmc.config.schema import Budget, Root, Settings, read_root
from plmc.config.schemes import asked
from plmc.config.typed import settle
from plmc.core.fields import verify
from plmc.core.method import Method
from plmc.core.stage import Recipe, Stage
from plmc.data.source import Source
from plmc.errors import ConfigError, PlmcError
from plmc.models.spec import ModelSpec
from plmc.names import as_keys, did_you_mean
from plmc.tasks.base import Task

if TYPE_CHECKING:
    from plmc.heads.base import Head
    from plmc.teachers.spec import TeacherSpec


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything about one training run.

    Attributes:
        config: the resolved config as plain containers: what is written down, and what other runs are derived from.
        settings: the top of it, typed.
        signature: the name of the run's folder.
        precision: `fp32`, `bf16` or `fp16`.
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
    def needs(self) -> frozenset[str]:
        """What all methods of all stages need."""
        return frozenset().union(*(m.required() for stage in self.recipe.stages for m in stage.methods.values()))

    @property
    def learns_from_teacher(self) -> bool:
        """Whether some stage looks at a fine-tuned teacher."""
        return any(
            need.startswith("teacher.")
            for stage in self.recipe.stages
            if stage.teacher == "finetuned" and stage.mlm is None
            for m in stage.methods.values()
            for need in m.required()
        )


def build(node: Any, where: str) -> Any:
    """The object a config node describes with `_target_`; errors name the key and the nearest right one."""
    from hydra.errors import InstantiationException
    from hydra.utils import get_class, instantiate

    if not isinstance(node, Mapping) or "_target_" not in node:
        raise ConfigError(f"{where} has no _target_: it must name the class it configures.")
    try:
        cls = get_class(node["_target_"])
    except Exception as error:  # a wrong import path raises whatever the import raises
        raise ConfigError(f"{where}._target_={node['_target_']} cannot be imported: {error}") from error
    verify(cls, node, where)
    try:
        return instantiate(dict(node), _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, PlmcError):
            # An error keeps its class: a task that reads its files may raise a DataError.
            typed = re.sub(r"^recipe\.stages\.\w+\.(?=methods\.)", "", where)
            text = as_keys(str(cause), getattr(cls, "__dataclass_fields__", ()), typed)
            raise type(cause)(f"{where}: {text}") from error
        text = str(cause or error).splitlines()[0]
        raise ConfigError(f"{where}: {text}") from error


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


def _stages(config: dict[str, Any], head: Head) -> tuple[Stage, ...]:
    """Stages with defaults from `train` and the command line's methods put where they belong."""
    all_of_them = config["recipe"].get("stages") or {}
    names = list(stages_for(all_of_them, head))
    if not names:
        raise ConfigError(f"recipe has no stages for a task of kind {head.kind}.")
    settle(config, names)
    described = stages_for(all_of_them, head)
    methods = {name: dict(described[name].get("methods") or {}) for name in names}
    for key, node in config["methods"].items():
        method: Method = build(node, f"methods.{key}")
        methods[names[0] if method.place == "first" else names[-1]][key] = method
    stages = []
    for name in names:
        values = {key: value for key, value in described[name].items() if key != "methods"}
        verify(Stage, values, f"recipe.stages.{name}")
        values = {**config["train"], **{k: v for k, v in values.items() if v is not None}}
        values["lr"] = config["budget"].get("lr") or values["lr"]
        built = {}
        for key, node in methods[name].items():
            if isinstance(node, Mapping) and "_target_" not in node:
                there = [
                    k for k, made in methods[name].items() if isinstance(made, Method) or "_target_" in (made or ())
                ]
                raise ConfigError(f"recipe.stages.{name} has no method {key}.{did_you_mean(key, there)}")
            if node is not None:
                made = node if isinstance(node, Method) else build(node, f"recipe.stages.{name}.methods.{key}")
                made.name = key
                built[key] = made
        stages.append(Stage(**values | {"name": name, "methods": built}))
    return tuple(stages)


def _signature(run: Run) -> str:
    """Readable prefix and a hash of everything that can change the result."""
    looked_at = run.learns_from_teacher or taught_stage(run) is not None
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
        # Rows that the task names, it names as content; those of a folder are known by these digests only.
        "rows": {key: value for key, value in run.config["files"].items() if key.startswith("data.")},
    }
    return f"{run.recipe.name}-{run.task.name}-{run.seed}-{hashed(told)}"


def resolve(config: Mapping[str, Any], *, role: str = "student", command: str = "", sweep: str = "") -> Run:
    """A `Run` from the composed config as plain containers. Raises ConfigError for what cannot work."""
    made = current(json.loads(json.dumps(config)))  # plain, ours, and proof that it can be stored
    return _resolved(dict(made), role=role, command=command, sweep=sweep)


def _resolved(config: dict[str, Any], *, role: str, command: str, sweep: str) -> Run:
    settings = read_root(config)
    _check_recipe(config["recipe"])
    asked(config.get("quantize"))
    place(config)
    task = build(config["task"], "task")
    source = task.own_source or build(config["data"], "data")
    config["files"] |= {f"data.{split}": digest(str(path)) for split, path in source.paths(task).items()}
    teacher = build(config["teacher"], "teacher")
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
    stages = _stages(config, task.head)
    described = {k: v for k, v in config["recipe"].items() if k in ("name", "title", "paper", "requires", "notes")}
    recipe = Recipe(stages=stages, **described)
    config["precision"] = _precision(settings.plain, stages)
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
        role=role,
        command=command,
        sweep=sweep,
    )
    return replace(run, signature=_signature(run))


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
