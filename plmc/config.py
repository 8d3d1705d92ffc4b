"""From composed YAML to a `Run`: objects built, conflicts refused, identity computed. Nothing is downloaded here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from plmc.core.method import Method
from plmc.core.stage import Recipe, Stage
from plmc.errors import ConfigError, PlmcError
from plmc.export.schemes import asked
from plmc.models import ModelSpec
from plmc.names import did_you_mean
from plmc.paths import digest, place
from plmc.pretraining import MLMTeacher, options, stages_for, taught_stage
from plmc.tasks.base import Source, Task
from plmc.track.store import resolve_uri

# All there is at the top; Hydra itself would take any other key behind a +.
_KEYS = (
    "task", "data", "teacher", "student", "recipe", "method", "methods", "tracking", "preset", "seed", "precision", "compile",
    "device", "threads", "train", "budget", "checkpoint", "log_every", "output_dir", "force", "latency_rows", "files",
    "quantize", "hydra",
)
# What does not change the result, hence not the identity, of a run.
EXCLUDED = (
    "tracking", "output_dir", "threads", "device", "checkpoint", "log_every", "force", "latency_rows", "preset",
    "quantize", "hydra",
)


@dataclass(frozen=True, kw_only=True)
class TeacherSpec(ModelSpec):
    """The teacher: a model, and how it is fine-tuned unless `checkpoint` names one that already is.

    `label_order`: for each of the task's labels, the column of the checkpoint's logits. `mlm`: how it teaches MLM stages.
    `cache`: how its outputs are stored, `fp32`, `fp16`, or None for a teacher that runs along; `cache_gb`: the most that
    one set of rows may take.
    """

    name: str | None
    checkpoint: str | None = None
    label_order: tuple[int, ...] | None = None
    seed: int = 1
    epochs: float = 3
    batch_size: int = 32
    lr: float = 5e-5
    cache: str | None = "fp32"
    cache_gb: float = 4.0
    mlm: Any = field(default_factory=MLMTeacher)

    def __post_init__(self):
        super().__post_init__()
        if self.cache not in ("fp32", "fp16", None):
            raise ConfigError(f"teacher.cache={self.cache!r} is unknown. Use fp32, fp16, or null.")
        if not self.cache_gb > 0:
            raise ConfigError(f"teacher.cache_gb={self.cache_gb} must be greater than 0; teacher.cache=null stores nothing.")
        object.__setattr__(self, "mlm", options(self.mlm))

    @property
    def known(self) -> bool:
        """Whether there is a teacher at all."""
        return self.name is not None or self.checkpoint is not None


@dataclass(frozen=True)
class Budget:
    """Caps that shrink any recipe: passes over the original rows and updates per stage, training and evaluation rows.

    `lr`: peak learning rate of every stage, since the rates of papers suit their many updates. The teacher has its own.
    """

    epochs: float | None = None
    steps: int | None = None
    train_rows: int | None = None
    eval_rows: int | None = None
    lr: float | None = None

    def __post_init__(self):
        for entry in fields(self):
            value = getattr(self, entry.name)
            if value is not None and value <= 0:
                raise ConfigError(f"budget.{entry.name}={value} must be greater than 0, or null.")


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything about one training run. `config` is the resolved plain config, `signature` names its folder."""

    config: Mapping[str, Any]
    signature: str
    task: Task
    source: Source
    teacher: TeacherSpec
    student: ModelSpec
    recipe: Recipe
    budget: Budget
    seed: int
    role: str = "student"
    command: str = ""
    precision: str = "auto"

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
    _numbers(cls, node, where)
    try:
        return instantiate(dict(node), _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, PlmcError):
            # Whatever the object refuses keeps its kind: a task that reads its files may raise a DataError.
            raise type(cause)(f"{where}: {cause}") from error
        text = str(cause or error).splitlines()[0]
        raise ConfigError(f"{where}: {text}") from error


_NUMBERS = {"int": "a whole number", "float": "a number"}


def _numbers(cls: type, values: Mapping[str, Any], where: str) -> None:
    """Refuses fields the class does not have, and words where the class wants nothing but a number."""
    types = {f.name: str(f.type).removesuffix(" | None") for f in fields(cls) if f.init}
    for key, value in values.items():
        if key not in types and not key.startswith("_"):
            raise ConfigError(f"{where}.{key}: {cls.__name__} has no such field.{did_you_mean(key, types)}")
        if types.get(key) in _NUMBERS and not isinstance(value, (int, float, type(None))):
            raise ConfigError(f"{where}.{key}={value} must be {_NUMBERS[types[key]]}.")


def _stages(config: Mapping[str, Any], kind: str) -> tuple[Stage, ...]:
    """Stages with defaults from `train` and the command line's methods put where they belong."""
    described = stages_for(config["recipe"].get("stages") or {}, kind)
    if not described:
        raise ConfigError(f"recipe has no stages for a task of kind {kind}.")
    names = list(described)
    methods = {name: dict(described[name].get("methods") or {}) for name in names}
    for key, node in config["methods"].items():
        method: Method = build(node, f"methods.{key}")
        target = names[0] if method.place == "first" else names[-1]
        if key in methods[target]:
            # The recipe has the method already: the command line's fields win.
            node = {**methods[target][key], **node}
        methods[target][key] = node
    stages = []
    for name in names:
        values = {key: value for key, value in described[name].items() if key != "methods"}
        _numbers(Stage, config["train"], "train")
        _numbers(Stage, values, f"recipe.stages.{name}")
        values = {**config["train"], **{k: v for k, v in values.items() if v is not None}}
        values["lr"] = config["budget"].get("lr") or values["lr"]
        built = {}
        for key, node in methods[name].items():
            if node is not None:
                built[key] = build(node, f"recipe.stages.{name}.methods.{key}")
                built[key].name = key
        stages.append(Stage(**values | {"name": name, "methods": built}))
    return tuple(stages)


def signature_of(config: Mapping[str, Any]) -> str:
    """Readable prefix and a hash of everything in the config that can change the result."""
    kept = {key: value for key, value in config.items() if key not in EXCLUDED}
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:10]
    return f"{config['recipe']['name']}-{config['task']['name']}-{config['seed']}-{digest}"


def resolve(config: Mapping[str, Any], *, role: str = "student", command: str = "") -> Run:
    """A `Run` from the composed config as plain containers. Raises ConfigError for whatever cannot work."""
    config = json.loads(json.dumps(config))  # plain, ours, and proof that it can be stored
    place(config)
    task = build(config["task"], "task")
    source = task.own_source or build(config["data"], "data")
    config["files"] |= {f"data.{split}": digest(str(path)) for split, path in source.paths(task).items()}
    teacher = build(config["teacher"], "teacher")
    if config["student"].get("name") is None:
        raise ConfigError(
            "there is no teacher to take the student's layers from; name the student: student=base student.name=…"
        )
    student = build(config["student"], "student")
    _check_values(config)
    stages = _stages(config, task.kind)
    described = {k: v for k, v in config["recipe"].items() if k in ("name", "title", "paper", "requires", "notes")}
    recipe = Recipe(stages=stages, **described)
    _numbers(Budget, config["budget"], "budget")
    budget = Budget(**config["budget"])
    run = Run(
        config=config, signature="", task=task, source=source, teacher=teacher, student=student, recipe=recipe,
        budget=budget, seed=config["seed"], role=role, command=command, precision=config["precision"],
    )
    config["precision"] = _precision(run)
    if not run.learns_from_teacher and taught_stage(run) is None:
        # The teacher is not looked at, so it is no part of this run's identity.
        files = {key: value for key, value in config["files"].items() if not key.startswith("teacher.")}
        kept = {**config, "teacher": None, "files": files}
    else:
        kept = config
    object.__setattr__(run, "signature", signature_of(kept))
    return run


def _check_values(config: Mapping[str, Any]) -> None:
    if config["precision"] not in ("auto", "fp32", "bf16", "fp16"):
        raise ConfigError(f"precision={config['precision']}; use auto, fp32, bf16 or fp16.")
    if config["device"] not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device={config['device']}; use auto, cpu or cuda.")
    if not isinstance(config["seed"], int) or config["seed"] < 0:
        raise ConfigError(f"seed={config['seed']} must be a whole number, 0 or more.")
    asked(config["quantize"])
    if config["tracking"].get("enabled") and config["tracking"].get("uri") is not None:
        # Before anything is written: what is refused here holds secrets, too.
        resolve_uri(str(config["tracking"]["uri"]))
    unknown = set(config) - set(_KEYS)
    if unknown:
        raise ConfigError(f"{min(unknown)}: there is no such key.{did_you_mean(min(unknown), _KEYS)}")
    if not isinstance(config["log_every"], int) or config["log_every"] < 1:
        raise ConfigError(f"log_every={config['log_every']} must be at least 1.")


def _precision(run: Run) -> str:
    """The precision that `auto` stands for here. Methods that half precision breaks get fp32, or a refusal."""
    import torch

    asked = run.config["precision"]
    if "fp32" in run.needs:
        if asked in ("bf16", "fp16"):
            names = [m.name for stage in run.recipe.stages for m in stage.methods.values() if "fp32" in m.required()]
            raise ConfigError(
                f"{', '.join(names)} does not work in {asked}: its effect is below what {asked} can hold. Use "
                "precision=fp32."
            )
        return "fp32"
    if asked != "auto":
        return asked
    if run.config["device"] != "cpu" and torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    # Without instructions for it (AMX, AVX512-BF16), bf16 on a CPU is emulated and slower.
    can = torch.cpu.get_capabilities()
    return "bf16" if can.get("amx_bf16") or can.get("avx512_bf16") else "fp32"
