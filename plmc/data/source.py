"""Where rows come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from plmc.core.fields import Checked

if TYPE_CHECKING:
    from pathlib import Path

    import datasets

    from plmc.tasks.base import Task


@dataclass(frozen=True, kw_only=True)
class Source(Checked):
    """Where rows come from (`conf/data/NAME.yaml`). Subclasses: Hub, Local, Embedded.

    `load(task)` returns `{split: datasets.Dataset}` with splits `train`, `validation` (MNLI also
    `validation_mismatched`) and, where there is one, `test`, and normalised columns: `id` int64, `text_a`, `text_b`
    (pair tasks), `label` (int64 class id, float32 score; absent where hidden); SQuAD: `id` int64, `key` (the official
    question id), `title`, `text_a` question, `text_b` context, `answers` {text: [...], answer_start: [...]}.
    """

    config_label: ClassVar[str] = "data"

    name: str = field(default="")

    @property
    def place(self) -> str | None:
        """The folder on this computer that the rows are in, if the config names one."""
        return None

    def paths(self, task: Task) -> dict[str, Path]:
        """Files on this computer that the rows of a task come from, by split; their content is part of a run's
        identity."""
        return {}

    def load(self, task: Task) -> dict[str, datasets.Dataset]:
        raise NotImplementedError
