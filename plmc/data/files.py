"""The user's own tables: .csv, .tsv, .jsonl or .parquet, one file a split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from plmc.core.fields import Added
from plmc.data.rows import class_map, normalise
from plmc.data.source import Source
from plmc.data.tables import read_table

if TYPE_CHECKING:
    import datasets

    from plmc.tasks.base import Task


@dataclass(frozen=True, kw_only=True)
class Files(Source):
    """Reads the files that `task=custom` names; the task brings this source along, in place of `data=`.

    Attributes:
        columns: the one or two text columns.
        label: the label column; only the test file may lack it.
        group: the column whose equal values belong together.
    """

    name: str = "custom"
    train: str | None = None
    validation: str | None = None
    test: str | None = None
    columns: tuple[str, ...] = ()
    label: str = "label"
    group: Annotated[str | None, Added(None)] = None

    def load(self, task: Task) -> dict[str, datasets.Dataset]:
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {
            split: normalise(
                read_table(Path(path).expanduser()),
                self.columns,
                self.label,
                classes=class_map(task.labels) if task.labels else None,
                hidden=split == "test",
                group=self.group,
            )
            for split, path in named.items()
            if path
        }
