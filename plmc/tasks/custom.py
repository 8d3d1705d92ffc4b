"""A task on the user's own files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from plmc.core.fields import Added, FileName
from plmc.data.files import Files
from plmc.data.rows import label_names
from plmc.data.source import Source
from plmc.data.tables import read_table
from plmc.errors import ConfigError
from plmc.heads.base import Head
from plmc.heads.classification import ClassificationHead, RegressionHead
from plmc.tasks.text import TextTask

_HEADS: dict[str, Head] = {head.kind: head for head in (ClassificationHead(), RegressionHead())}


@dataclass(frozen=True, kw_only=True)
class Custom(TextTask):
    """Classification or regression on one or two text columns of .csv, .tsv, .jsonl or .parquet files.

    Raises ConfigError for a wrong value and, if `labels` is None, DataError if the training file cannot be read.

    Attributes:
        train: paths; the test file may lack labels.
        validation: see `train`.
        test: see `train`.
        text: the one or two text columns in the files; once the task is built, `columns` holds these names and `text`
            the normalised ones, as in every task.
        label: the label column.
        group: the column whose equal values belong together (questions on one text, sentences of one patient): parts of
            the rows and significance tests draw whole groups.
        labels: class names in the order of their ids; None takes the different values found in `train`, sorted.
        metric: None takes accuracy or spearman; `f1` needs two classes and is that of the second.
    """

    name: FileName = "custom"
    kind: str = "classification"
    train: str | None = None
    validation: str | None = None
    test: str | None = None
    text: Sequence[str] | str = ()  # type: ignore[assignment]
    label: str = "label"
    labels: Sequence[str | float | bool] | None = None  # type: ignore[assignment]
    metric: str | None = None
    columns: Sequence[str] | None = None
    group: Annotated[str | None, Added(None)] = None

    def __post_init__(self) -> None:
        if self.kind not in _HEADS:
            raise ConfigError(f"task.kind={self.kind}: choose {' or '.join(_HEADS)}.")
        if not (self.train or self.validation or self.test):
            raise ConfigError(
                "task=custom needs files: task.train=my.csv task.validation=dev.csv (or task.test=test.csv)."
            )
        named = self.columns or ((self.text,) if isinstance(self.text, str) else self.text)
        # The way to fill in a frozen dataclass.
        object.__setattr__(self, "columns", tuple(named))
        object.__setattr__(self, "text", ("text_a", "text_b")[: len(self.columns)])
        self._check_columns()
        object.__setattr__(self, "labels", self._classes())
        object.__setattr__(self, "metric", self.metric or self.metrics[0])
        if self.metric not in self.metrics:
            raise ConfigError(f"task.metric={self.metric}: this task is measured by {', '.join(self.metrics)}.")

    @property
    def head(self) -> Head:  # type: ignore[override]  # a field decides it here; for other tasks it is a fact of their class
        return _HEADS[self.kind]

    @property
    def metrics(self) -> tuple[str, ...]:
        if not self.head.has_classes:
            return ("spearman", "pearson")
        binary = ("f1",) if len(self.labels) == 2 else ()
        return ("accuracy", *binary, "macro_f1", "matthews")

    @property
    def own_source(self) -> Source:
        return Files(
            train=self.train,
            validation=self.validation,
            test=self.test,
            columns=tuple(self.columns),
            label=self.label,
            group=self.group,
        )

    def place(self, split: str) -> str | None:
        return getattr(self, split, None)

    def _check_columns(self) -> None:
        if len(self.columns) not in (1, 2) or len(set(self.columns)) != len(self.columns):
            raise ConfigError(
                "task=custom needs one or two text columns: task.text=[sentence] or task.text=[first,second]."
            )
        if self.label in self.columns:
            raise ConfigError(
                f"task.label={self.label} is also named as a text. Name the column that holds the labels."
            )

    def _classes(self) -> tuple[str, ...]:
        if not self.head.has_classes:
            if self.labels:
                raise ConfigError("task.labels belongs to classification; a regression task has none.")
            return ()
        if self.labels is not None:
            names = tuple(str(name) for name in self.labels)
            if len(names) < 2 or len(set(names)) != len(names):
                raise ConfigError(f"task.labels={list(names)}: name two or more different classes.")
            return names
        if not self.train:
            raise ConfigError("Without task.train the classes are unknown. Name them: task.labels=[negative,positive].")
        return label_names(read_table(Path(self.train).expanduser()), self.label)
