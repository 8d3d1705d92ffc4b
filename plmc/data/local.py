"""GLUE and SQuAD from files on this computer, laid out as their authors release them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from plmc.data.find import data_root
from plmc.data.source import Source

if TYPE_CHECKING:
    from pathlib import Path

    import datasets

    from plmc.tasks.base import Task


@dataclass(frozen=True, kw_only=True)
class Local(Source):
    """Reads the GLUE folder (`SST-2/train.tsv`, ...) and SQuAD's JSON files, plain or .gz.

    Raises DataError if a folder, file or column is missing or a row is malformed, with file and line.

    Attributes:
        root: the folder that holds them, or that holds `glue` and `squad`.
        files: file names of single splits, e.g. `data.files.train=train_20k.tsv`; needed where a split has several
            files and none is called `train.tsv`.
    """

    name: str = "local"
    root: str | None = None
    files: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def place(self) -> str | None:
        return self.root

    def paths(self, task: Task) -> dict[str, Path]:
        return task.files(self)

    def load(self, task: Task) -> dict[str, datasets.Dataset]:
        return task.from_files(self)

    @property
    def folder(self) -> Path:
        """`root`, or the folder that is found without it. Raises DataError if there is none."""
        return data_root(self.root)

    @property
    def named(self) -> dict[str, str]:
        """`files` without those that are unset."""
        return {split: name for split, name in self.files.items() if name}
