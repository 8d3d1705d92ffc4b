"""GLUE and SQuAD from files on this computer, laid out as their authors release them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from plmc.data.find import data_root
from plmc.data.glue_files import LAYOUTS, glue_files, load_glue
from plmc.data.source import Source
from plmc.data.squad_json import load_squad, squad_files
from plmc.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    import datasets

    from plmc.tasks.base import Task


@dataclass(frozen=True, kw_only=True)
class Local(Source):
    """Reads the GLUE folder (`SST-2/train.tsv`, ...) and SQuAD's JSON files, plain or .gz.

    `root`: the folder that holds them, or that holds `glue` and `squad`. `files`: file names of single splits, e.g.
    `data.files.train=train_20k.tsv`; needed where a split has several files and none is called `train.tsv`.

    Raises DataError if a folder, file or column is missing or a row is malformed, with file and line.
    """

    name: str = "local"
    root: str | None = None
    files: Mapping[str, str | None] = field(default_factory=dict)

    def paths(self, task: Task) -> dict[str, Path]:
        root, files = self._where()
        if task.name in LAYOUTS:
            return glue_files(root, task, files)
        return squad_files(root, task.version, files) if task.kind == "span" else {}

    def load(self, task: Task) -> dict[str, datasets.Dataset]:
        root, files = self._where()
        if task.name in LAYOUTS:
            return load_glue(root, task, files)
        if task.kind == "span":
            return load_squad(root, task.version, files)
        if task.kind == "mlm":
            raise ConfigError("data=local does not know which text to read. Name it: task.corpus=FILE.txt")
        raise ConfigError(f"data=local knows GLUE and SQuAD, not {task.name!r}. For files of your own: task=custom.")

    def _where(self) -> tuple[Path, dict[str, str]]:
        return data_root(self.root), {split: name for split, name in self.files.items() if name}
