"""What a teacher is made from, and how it is trained where no checkpoint is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from plmc.core.fields import Added, Amount, Count, Epochs, Positive, Rate, Seed
from plmc.models.spec import ModelSpec


@dataclass(frozen=True, kw_only=True)
class TeacherSpec(ModelSpec):
    """The teacher: a model, and how it is fine-tuned unless `checkpoint` names one that already is.

    Attributes:
        label_order: for each of the task's labels, the column of the checkpoint's logits.
        cache: how its outputs are stored, `fp32`, `fp16`, or None for a teacher that runs along.
        cache_gb: the most that one set of rows may take.
        sharded: the processes of a run hold a part of its weights each (FSDP2), for a teacher that does not fit on one
            device; it runs along, and nothing is stored.
        head_epochs: passes in which a model that comes without a head for running text gets one, on the frozen encoder.
        head_lr: peak rate of that.
    """

    former: ClassVar[Mapping[str, Any]] = {
        "mlm": {
            "": "plmc:MLMTeacher",
            "train": "auto",
            "epochs": 1,
            "steps": None,
            "lr": 5e-5,
            "head_epochs": 1,
            "head_lr": 1e-3,
            "batch_size": 32,
        }
    }

    name: str | None
    checkpoint: str | None = None
    label_order: Sequence[Amount] | None = None
    seed: Seed = 1
    epochs: Epochs = 3
    batch_size: Count = 32
    lr: Rate = 5e-5
    cache: Literal["fp32", "fp16"] | None = "fp32"
    cache_gb: Positive = 4.0
    sharded: Annotated[bool, Added(False)] = False
    head_epochs: Annotated[Epochs, Added(1)] = 1
    head_lr: Annotated[Rate, Added(1e-3)] = 1e-3

    @property
    def known(self) -> bool:
        """Whether there is a teacher at all."""
        return self.name is not None or self.checkpoint is not None
