"""Scores by class and confusions of the arms of a report, from the answers that their runs left."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from plmc.errors import PlmcError
from plmc.report import html
from plmc.results.find import Run

MOST = 20
"""Classes that a table shows; more would only be scrolled past."""


def classes(groups: Sequence[Any], labels: Sequence[str]) -> list[Markup]:
    """One folded part an arm with its first run's confusion matrix; nothing for tasks without classes."""
    parts = []
    for arm, label in zip(groups, labels, strict=True):
        run = arm.first
        found = _answers(run)
        if found is None:
            continue
        names, true, said = found
        heads, rows = by_class(names, true, said)
        rows_word = "row" if len(true) == 1 else "rows"
        title = f"{label}, seed {run.record.seed}: {len(true):,} {rows_word}, {100 * np.mean(true == said):.2f} % right"
        parts.append(html.folded(title, [html.table(heads, rows)]))
    return [html.heading(3, "By class"), *parts] if parts else []


def by_class(names: Sequence[str], true: np.ndarray, said: np.ndarray) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of a table: for each true class precision, recall, F1, and how often it was taken for which."""
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    numbers = range(len(names))
    counts = confusion_matrix(true, said, labels=list(numbers))
    scores = precision_recall_fscore_support(true, said, labels=list(numbers), zero_division=0.0)
    heads = ["true class", "rows", "precision", "recall", "F1", *(f"said {name}" for name in names)]
    rows = [
        [
            names[i],
            f"{counts[i].sum():,}",
            *(f"{100 * score[i]:.1f}" for score in scores[:3]),
            *(f"{n:,}" for n in counts[i]),
        ]
        for i in numbers
    ]
    return heads, rows


def _answers(run: Run) -> tuple[list[str], np.ndarray, np.ndarray] | None:
    """Class names, true and said classes of the first evaluation split; None where there are none to show."""
    try:
        records = run.predictions()
    except PlmcError:  # without stored answers; those of a damaged file are named by the table above
        return None
    if not records or "prediction_id" not in records[0] or records[0].get("label") is None:
        return None
    true, said = (np.array([record[key] for record in records]) for key in ("label", "prediction_id"))
    size = len(records[0].get("logits") or ()) or int(max(true.max(), said.max())) + 1
    if size > MOST:
        return None
    names = {int(record["prediction_id"]): str(record["prediction"]) for record in records if "prediction" in record}
    configured = _names(run)
    return [configured.get(i, names.get(i, str(i))) for i in range(size)], true, said


def _names(run: Run) -> dict[int, str]:
    config = run.folder / "model" / "config.json"
    if not config.is_file():
        return {}
    return {int(number): str(name) for number, name in (json.loads(config.read_text()).get("id2label") or {}).items()}
