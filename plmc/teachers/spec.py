"""What a teacher is made from, and how it is trained where no checkpoint is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from plmc.core.fields import Amount, Checked, Count, Epochs, Positive, Rate, Seed, verify
from plmc.models.spec import ModelSpec


@dataclass(frozen=True, kw_only=True)
class MLMTeacher(Checked):
    """How the pre-trained teacher becomes a masked language model of a stage's corpus.

    Attributes:
        train: `auto` takes a model that comes with its language model head as it is; `all` trains it on on the corpus
            (teacher preparation of Prune OFA: `epochs` or `steps` updates at the peak rate `lr`). A model without a
            head gets one first, on the frozen encoder (`head_epochs`, `head_lr`). It is made once for each model,
            corpus and seed.
    """

    config_label: ClassVar[str] = "teacher.mlm"

    train: Literal["auto", "all"] = "auto"
    epochs: Epochs = 1
    steps: Count | None = None
    lr: Rate = 5e-5
    head_epochs: Epochs = 1
    head_lr: Rate = 1e-3
    batch_size: Count = 32


@dataclass(frozen=True, kw_only=True)
class TeacherSpec(ModelSpec):
    """The teacher: a model, and how it is fine-tuned unless `checkpoint` names one that already is.

    Attributes:
        label_order: for each of the task's labels, the column of the checkpoint's logits.
        mlm: how it teaches MLM stages.
        cache: how its outputs are stored, `fp32`, `fp16`, or None for a teacher that runs along.
        cache_gb: the most that one set of rows may take.
    """

    name: str | None
    checkpoint: str | None = None
    label_order: Sequence[Amount] | None = None
    seed: Seed = 1
    epochs: Epochs = 3
    batch_size: Count = 32
    lr: Rate = 5e-5
    cache: Literal["fp32", "fp16"] | None = "fp32"
    cache_gb: Positive = 4.0
    mlm: Any = field(default_factory=MLMTeacher)

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "mlm", _options(self.mlm))

    @property
    def known(self) -> bool:
        """Whether there is a teacher at all."""
        return self.name is not None or self.checkpoint is not None


def _options(given: Any) -> MLMTeacher:
    """`MLMTeacher` from what a config holds. Raises ConfigError for a field that it does not have."""
    if isinstance(given, MLMTeacher):
        return given
    verify(MLMTeacher, given, "teacher.mlm")
    return MLMTeacher(**given)
