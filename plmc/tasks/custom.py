"""A task on the user's own files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from plmc.data.files import Files
from plmc.data.rows import label_names
from plmc.data.tables import read_table
from plmc.errors import ConfigError
from plmc.tasks.base import Source
from plmc.tasks.text import TextTask


@dataclass(frozen=True, kw_only=True)
class Custom(TextTask):
    """Classification or regression on the tables of `files`; `custom` builds it from conf/task/custom.yaml."""

    kind: str = "classification"  # a field here; for the other tasks it is a fact of their class
    files: Files

    def __post_init__(self) -> None:
        if self.metric not in self.metrics:
            raise ConfigError(f"task.metric={self.metric}: this task is measured by {', '.join(self.metrics)}.")

    @property
    def metrics(self) -> tuple[str, ...]:
        if self.kind == "regression":
            return ("spearman", "pearson")
        binary = ("f1",) if len(self.labels) == 2 else ()
        return ("accuracy", *binary, "macro_f1", "matthews")

    @property
    def text(self) -> tuple[str, ...]:
        return ("text_a", "text_b")[: len(self.files.columns)]

    @property
    def own_source(self) -> Source:
        return self.files


def custom(
    *,
    name: str = "custom",
    train: str | None = None,
    validation: str | None = None,
    test: str | None = None,
    text: Sequence[str] | str = (),
    label: str = "label",
    kind: str = "classification",
    labels: Sequence[str] | None = None,
    metric: str | None = None,
    max_length: int = 128,
) -> Custom:
    """The task of conf/task/custom.yaml.

    `train`, `validation`, `test`: paths; the test file may lack labels. `text`: one or two column names. `label`: the
    label column. `labels`: class names in the order of their ids; None takes the different values found in `train`,
    sorted. `metric`: None takes accuracy or spearman; `f1` needs two classes and is that of the second.

    Raises ConfigError for a wrong value and, if `labels` is None, DataError if the training file cannot be read.
    """
    columns = (text,) if isinstance(text, str) else tuple(text)
    if len(columns) not in (1, 2) or len(set(columns)) != len(columns):
        raise ConfigError(
            "task=custom needs its one or two text columns: task.text=[sentence] or task.text=[first,second]."
        )
    if label in columns:
        raise ConfigError(f"task.label={label} is also named as a text. Name the column that holds the labels.")
    if kind not in ("classification", "regression"):
        raise ConfigError(f"task.kind={kind}: choose classification or regression.")
    if not (train or validation or test):
        raise ConfigError("task=custom needs files: task.train=my.csv task.validation=dev.csv (or task.test=test.csv).")
    return Custom(
        name=name,
        kind=kind,
        labels=_labels(kind, labels, train, label),
        metric=metric or ("accuracy" if kind == "classification" else "spearman"),
        max_length=max_length,
        files=Files(train=train, validation=validation, test=test, columns=columns, label=label),
    )


def _labels(kind: str, labels: Sequence[str] | None, train: str | None, label: str) -> tuple[str, ...]:
    if kind == "regression":
        if labels:
            raise ConfigError("task.labels belongs to classification; a regression task has none.")
        return ()
    if labels is not None:
        names = tuple(str(name) for name in labels)
        if len(names) < 2 or len(set(names)) != len(names):
            raise ConfigError(f"task.labels={list(names)}: name two or more different classes.")
        return names
    if not train:
        raise ConfigError("Without task.train the classes are unknown. Name them: task.labels=[negative,positive].")
    return label_names(read_table(Path(train).expanduser()), label)
