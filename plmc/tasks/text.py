"""Tasks on one or two texts with one label: how they are tokenised, predicted and scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plmc.core.rows import Split
from plmc.data.encode import TOKENS, cached, check_length, fingerprint, ragged, tokenise
from plmc.errors import DataError, TrainingError
from plmc.tasks.base import Task
from plmc.tasks.metrics import METRICS

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True, kw_only=True)
class TextTask(Task):
    """Base of Glue and Custom. Subclasses name `metrics` and `text`.

    Records: `id`, `prediction` (class name or score), `label` (class id or score, where known); classification adds
    `prediction_id` and `logits`.
    """

    def check(self, tokenizer: Any) -> None:
        check_length(self.max_length, tokenizer, pair=len(self.text) == 2)

    def encode(self, rows: datasets.Dataset, tokenizer: Any, *, training: bool, cache: Path | None = None) -> Split:
        self.check(tokenizer)
        key = fingerprint(rows, tokenizer, text=self.text, max_length=self.max_length)
        names = [name for name in TOKENS if name in tokenizer.model_input_names]

        def batch(texts: Mapping[str, Sequence[Any]], rows: list[int]) -> dict[str, Any]:
            columns = [texts[name] for name in self.text]
            encoded = tokenizer(*columns, truncation=True, max_length=self.max_length, return_attention_mask=False)
            return {name: encoded[name] for name in names}

        lists = {name: TOKENS[name] for name in names}
        stored = cached(key, cache, lambda: tokenise(rows.select_columns(list(self.text)), batch, lists, key))
        labels = None
        if "label" in rows.column_names:
            labels = self.labels_of(rows)
        return Split(
            columns={name: ragged(stored, name) for name in names},
            labels=labels,
            ids=rows.with_format("arrow")[:].column("id").to_numpy().astype(np.int64),
            raw=rows,
            source=np.arange(len(rows)),
            fingerprint=key,
            facts=facts(rows),
        )

    def labels_of(self, rows: datasets.Dataset) -> np.ndarray:
        """The labels of normalised rows, `(N,)`: class ids int64, or scores float32."""
        labels = rows.with_format("arrow")[:].column("label").to_numpy()
        return labels.astype(np.int64 if self.head.has_classes else np.float32)

    def predict(self, logits: Sequence[np.ndarray], split: Split) -> list[dict[str, Any]]:
        scores = np.asarray(logits[0], dtype=np.float64)
        if np.isnan(scores).any():
            row = int(np.isnan(scores).any(axis=1).argmax())
            raise TrainingError(
                f"The model's output for row {split.ids[row]} of {self.name} is not a number; it diverged."
            )
        records, groups = [], split.raw["group"] if "group" in split.facts else None
        for row in np.argsort(split.source, kind="stable").tolist():
            record = {"id": int(split.ids[row]), **self.head.record(scores[row], self.labels)}
            if groups is not None:
                record["group"] = groups[int(split.source[row])]
            if split.labels is not None:
                record["label"] = split.labels[row].tolist()
            records.append(record)
        return records

    def score(self, records: Sequence[Mapping[str, Any]], split: Split) -> dict[str, float]:
        if not records or any("label" not in record for record in records):
            raise DataError(
                f"{self.name}: these rows have no labels, so there is nothing to score. Use predictions only."
            )
        said = np.array([record[self.head.said] for record in records])
        label = np.array([record["label"] for record in records])
        return {name: METRICS[name](said, label) for name in self.metrics}


def facts(rows: datasets.Dataset) -> dict[str, np.ndarray]:
    """For `Split.facts`: the number of each row's group, where rows have one."""
    if "group" not in rows.column_names:
        return {}
    return {"group": np.unique(rows["group"], return_inverse=True)[1].astype(np.int64)}
