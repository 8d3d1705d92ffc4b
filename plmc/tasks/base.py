"""What a task is: text columns, labels, metric and the rule that turns logits into answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from plmc.core.fields import Checked, FileName, Length

if TYPE_CHECKING:
    from pathlib import Path

    import datasets
    import numpy as np

    from plmc.core.rows import Split
    from plmc.data.source import Source


@dataclass(frozen=True, kw_only=True)
class Task(Checked):
    """A task; its fields are its config (`conf/task/NAME.yaml`).

    `kind`: `classification`, `regression` or `span`. `text`: names of the one or two text columns after normalisation
    (`("text_a",)` or `("text_a", "text_b")`). `labels`: class names in the order of the label ids. `metric`: the metric
    that selects the best weights and heads the tables. `max_length`: tokens, special ones included.
    """

    config_label: ClassVar[str] = "task"

    name: FileName
    kind: ClassVar[str] = "classification"
    labels: tuple[str, ...] = ()
    metric: str = "accuracy"
    max_length: Length = 128

    @property
    def outputs(self) -> int:
        """Width of the model's head."""
        return len(self.labels) if self.kind == "classification" else 1 if self.kind == "regression" else 2

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
        """Where the rows come from if the task brings its files along, whatever `data=` says; None for all others."""
        return None

    def encode(self, rows: datasets.Dataset, tokenizer: Any, *, training: bool, cache: Path | None = None) -> Split:
        """Tokenises normalised rows (see `Source.load`).

        Stored in the folder `cache` (None: not at all) under the fingerprint of rows, tokenizer and options.
        """
        raise NotImplementedError

    def predict(self, logits: Sequence[np.ndarray], split: Split) -> list[dict[str, Any]]:
        """One record per raw row, in raw order: at least `id`, `prediction`, and `label` where known.

        `logits` has one array per head: `(N, C)`, `(N, 1)`, or two of `(N, T)` padded with -inf, N rows of `split`.
        """
        raise NotImplementedError

    def score(self, records: Sequence[Mapping[str, Any]], split: Split) -> dict[str, float]:
        """The official metrics of records that `predict` made, as fractions (0 to 1; correlations -1 to 1)."""
        raise NotImplementedError
