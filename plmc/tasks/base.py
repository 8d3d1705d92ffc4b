"""What a task is: text columns, labels, metric and the rule that turns logits into answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from plmc.core.fields import Checked, FileName, Length
from plmc.errors import ConfigError
from plmc.heads.base import Head
from plmc.heads.classification import ClassificationHead

if TYPE_CHECKING:
    from pathlib import Path

    import datasets
    import numpy as np

    from plmc.core.rows import Split
    from plmc.data.embedded.source import Embedded
    from plmc.data.hub import Hub
    from plmc.data.local import Local
    from plmc.data.source import Source


@dataclass(frozen=True, kw_only=True)
class Task(Checked):
    """A task; its fields are its config (`conf/task/NAME.yaml`).

    Attributes:
        head: the kind of task.
        text: names of the one or two text columns after normalisation (`("text_a",)` or `("text_a", "text_b")`).
        labels: class names in the order of the label ids.
        metric: the metric that selects the best weights and heads the tables.
        max_length: tokens, special ones included.
    """

    config_label: ClassVar[str] = "task"

    name: FileName
    head: ClassVar[Head] = ClassificationHead()
    labels: tuple[str, ...] = ()
    metric: str = "accuracy"
    max_length: Length = 128

    @property
    def outputs(self) -> int:
        """Width of the model's head."""
        return self.head.outputs(self.labels)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of all metrics that `score` returns, the official ones of the task; all are better when higher."""
        raise NotImplementedError(f"{type(self).__name__} must name its metrics")

    @property
    def text(self) -> tuple[str, ...]:
        """Normalised text columns: `("text_a",)` or `("text_a", "text_b")`."""
        raise NotImplementedError(f"{type(self).__name__} must name its text columns")

    @property
    def own_source(self) -> Source | None:
        """The source of the rows if the task names its own files, in place of `data=`; None for all others."""
        return None

    def on(self, other: Task) -> Task:
        """This task on the rows of `other`, a task of the same kind whose rows have no labels."""
        return self

    def plain(self) -> Task:
        """The task without what only favours some of its training rows: what a teacher is trained on."""
        return self

    # Where the rows come from, if the task does not name its own files.

    @property
    def hub_dataset(self) -> str | None:
        """The Hub's name of the task's data set; None if it has none."""
        return None

    def place(self, split: str) -> str | None:
        """Where the rows of a split are if the task brings its files along."""
        return None

    def from_hub(self, source: Hub) -> dict[str, datasets.Dataset]:
        """Its rows on the Hub, normalised; see `Source.load`."""
        raise ConfigError(f"data=hub knows GLUE and SQuAD, not {self.name!r}. For files of your own: task=custom.")

    def files(self, source: Local) -> dict[str, Path]:
        """The files of the original release on this computer, by split."""
        return {}

    def from_files(self, source: Local) -> dict[str, datasets.Dataset]:
        """Its rows in these files, normalised."""
        raise ConfigError(f"data=local knows GLUE and SQuAD, not {self.name!r}. For files of your own: task=custom.")

    def made_up(self, source: Embedded) -> dict[str, datasets.Dataset]:
        """Rows that plmc makes up, normalised."""
        return source.rows_of(self.name)

    # From rows to tokens to answers.

    def check(self, tokenizer: Any) -> None:
        """Raises ConfigError if rows cannot be tokenised by `tokenizer`, before one is read."""

    def encode(self, rows: datasets.Dataset, tokenizer: Any, *, training: bool, cache: Path | None = None) -> Split:
        """Tokenises normalised rows (see `Source.load`).

        Stored in the folder `cache` (None: not at all) under the fingerprint of rows, tokenizer and options.
        """
        raise NotImplementedError

    def predict(self, logits: Sequence[np.ndarray], split: Split) -> list[dict[str, Any]]:
        """One record per raw row, in raw order: at least `id`, `prediction`, and `label` where known.

        Args:
            logits: what `head.gather` kept of the N rows of `split`: `(N, C)`, `(N, 1)`, two of `(N, T)` padded with
                -inf, or three of `(N,)`.
        """
        raise NotImplementedError

    def score(self, records: Sequence[Mapping[str, Any]], split: Split) -> dict[str, float]:
        """The official metrics of records that `predict` made, as fractions (0 to 1; correlations -1 to 1)."""
        raise NotImplementedError

    @property
    def reading(self) -> dict[str, Any] | None:
        """How an export cuts answers out of a text; None for tasks that do not."""
        return None
