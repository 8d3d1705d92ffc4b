"""The trained model that an export starts from, and what is known about it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plmc.core.rows import Split
from plmc.errors import ConfigError
from plmc.export.extras import need
from plmc.heads.find import task_head
from plmc.models.families import find as families
from plmc.models.load import load_config, load_whole
from plmc.tasks.base import Task

FAMILIES = tuple(kind for family in families.FAMILIES for kind in family.types)


@dataclass(frozen=True)
class Source:
    """A trained model in `folder` with the rows that its exports are verified on and calibrated with.

    Attributes:
        run: the folder of the plmc run it belongs to, `signature` that run's; None for a model from elsewhere.
            `evaluation` and `train` are tokenised for this model.
    """

    folder: Path
    task: Task
    evaluation: Split
    train: Split | None
    pad_id: int
    run: Path | None = None
    signature: str | None = None

    def digest(self) -> str:
        """Of everything that an export's content follows from: weights, config, tokenizer and rows."""
        found = hashlib.sha256()
        for file in sorted(path for path in self.folder.iterdir() if path.suffix in (".json", ".safetensors", ".txt")):
            found.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
        rows = [self.evaluation.fingerprint, len(self.evaluation), self.train.fingerprint if self.train else None]
        return hashlib.sha256(found.digest() + repr(rows).encode()).hexdigest()[:16]


def load_model(folder: Path) -> Any:
    """The model with its head in evaluation mode, in float32 but for the integers of an int8 export.

    Raises ConfigError if the file lacks the head.
    """
    config = load_config(str(folder))
    if (getattr(config, "quantization_config", None) or {}).get("quant_method") == "torchao":
        need("torchao.quantization")
    return load_whole(task_head(config).auto_class(), str(folder))


def check_family(config: Any) -> None:
    """Raises ConfigError for an architecture whose export nobody has checked."""
    if config.model_type not in FAMILIES:
        raise ConfigError(f"{config.model_type} models cannot be exported; plmc exports {', '.join(FAMILIES)}.")
