"""The keys at the top of a config: their types and ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from plmc.core.fields import Amount, Checked, Count, Epochs, NotNegative, Range, Seed, verify
from plmc.errors import ConfigError
from plmc.names import did_you_mean
from plmc.track.store import resolve_uri

# Groups and nested settings, each checked by its own class.
_NESTED = ("task", "data", "teacher", "teachers", "student", "recipe", "method", "methods", "hydra")


@dataclass(frozen=True, kw_only=True)
class Budget(Checked):
    """Caps that shrink any recipe: passes over the original rows and updates per stage, training and evaluation rows.

    Attributes:
        lr: peak learning rate of every stage, since the rates of papers suit their many updates. The teacher has its
            own.
    """

    config_label: ClassVar[str] = "budget"

    epochs: Epochs | None = None
    steps: Count | None = None
    train_rows: Count | None = None
    eval_rows: Count | None = None
    lr: Annotated[float, Range(0, 100, open_low=True)] | None = None


@dataclass(frozen=True, kw_only=True)
class Limits(Checked):
    """What a searched student may not exceed: parameters, megabytes of weights, milliseconds a row; None: no limit."""

    config_label: ClassVar[str] = "limits"

    params: Count | None = None
    megabytes: Annotated[float, Range(0, 1e7, open_low=True)] | None = None
    latency_ms: Annotated[float, Range(0, 1e7, open_low=True)] | None = None


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Checked):
    """How often a running stage is saved: `seconds` between two checkpoints, or every `steps` updates."""

    config_label: ClassVar[str] = "checkpoint"

    seconds: NotNegative = 60
    steps: Count | None = None


@dataclass(frozen=True, kw_only=True)
class Tracking(Checked):
    """Where metrics go.

    Attributes:
        uri: the address of an MLflow store or server; None is a file in `output_dir`.
    """

    config_label: ClassVar[str] = "tracking"

    enabled: bool = True
    uri: str | None = None
    experiment: str = "plmc"
    system_metrics: bool = True
    model: bool = True

    def __post_init__(self) -> None:
        if self.uri is not None:
            # Before anything is written: what is refused here holds secrets, too.
            resolve_uri(self.uri)
        if not self.experiment.strip():
            raise ConfigError("tracking.experiment is empty. Name an experiment: tracking.experiment=plmc")


@dataclass(frozen=True, kw_only=True)
class Root(Checked):
    """The plain keys at the top, see `conf/train.yaml`."""

    seed: Seed = 1
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Annotated[int, Range(1, 1024)] | None = None
    processes: Annotated[int, Range(1, 1024)] | None = None
    log_every: Count = 10
    output_dir: str = "outputs"
    quantize: str | Sequence[str] | None = None
    force: bool = False
    latency_rows: Annotated[Amount, Range(0, 1_000_000)] = 32
    preset: Any = None
    files: Mapping[str, str | None] | None = None
    epochs: Epochs | None = None

    def __post_init__(self) -> None:
        if not self.output_dir.strip():
            raise ConfigError("output_dir is empty. Name a folder: output_dir=outputs")
        if len(self.output_dir) > 1000:
            raise ConfigError(
                f"output_dir has {len(self.output_dir)} characters. Take a path of 1000 at most: runs add to it."
            )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The checked top of a config: its plain keys and its nested settings."""

    plain: Root
    budget: Budget
    limits: Limits
    checkpoint: Checkpoint
    tracking: Tracking


_PARTS: dict[str, type[Checked]] = {"budget": Budget, "limits": Limits, "checkpoint": Checkpoint, "tracking": Tracking}


def read_root(config: Mapping[str, Any]) -> Settings:
    """The top of a config, typed.

    Raises ConfigError for a key at the top that there is not, and for a value that is not one of its key.
    """
    from plmc.core.stage import Stage

    known = (*_NESTED, *_PARTS, "train", "typed", *Root.__dataclass_fields__)
    for key in (*_NEEDED, *(part for part in _PARTS if part != "limits")):  # older runs have no limits
        if key not in config:
            raise ConfigError(f"{key} is missing: ~{key} takes away what every run has. {_say(key)}")
    for key, value in config.items():
        if key not in known:
            raise ConfigError(f"{key}: there is no such key.{did_you_mean(str(key), known)}")
        if key in (*_GROUPS, "train", "methods", "teachers", *_PARTS) and not isinstance(value, Mapping):
            raise ConfigError(f"{key}={value} is no mapping of settings. {_say(key)}")
    plain = {key: value for key, value in config.items() if key in Root.__dataclass_fields__}
    verify(Root, plain, "")
    root = Root(**plain)
    parts = {key: config.get(key) or {} for key in _PARTS}
    for key, cls in _PARTS.items():
        verify(cls, parts[key], key)
    verify(Stage, config.get("train") or {}, "train")
    return Settings(
        plain=root,
        budget=Budget(**parts["budget"]),
        limits=Limits(**parts["limits"]),
        checkpoint=Checkpoint(**parts["checkpoint"]),
        tracking=Tracking(**parts["tracking"]),
    )


def _say(key: str) -> str:
    if key in _GROUPS:
        return f"Choose an option: {key}={_GROUPS[key]} (plmc ls)."
    return f"Set its fields, such as {_FIELD[key]}." if key in _FIELD else ""


_GROUPS = {"task": "sst2", "data": "hub", "teacher": "bert-base", "student": "half", "recipe": "kd"}
_NEEDED = (
    *_GROUPS,
    "train",
    "methods",
    "seed",
    "precision",
    "compile",
    "device",
    "threads",
    "log_every",
    "output_dir",
    "quantize",
    "force",
    "latency_rows",
)
_FIELD = {
    "methods": "methods.kd.temperature=4",
    "train": "train.lr=5e-5",
    "budget": "budget.steps=100",
    "checkpoint": "checkpoint.seconds=60",
    "limits": "limits.megabytes=60",
    "tracking": "tracking.uri=http://HOST:5000",
}
