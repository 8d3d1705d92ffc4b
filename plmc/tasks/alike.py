"""Answers that are all the same: the model has learnt nothing, even if its score is high."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def one_answer(records: Sequence[Mapping[str, Any]]) -> str | None:
    """The answer that every record has as `prediction`, as text; None if they differ, or if there are fewer than
    two."""
    return _same(records, "prediction")


def one_label(records: Sequence[Mapping[str, Any]]) -> str | None:
    """The label that every record has; None if they differ or have none."""
    return _same(records, "label")


def remarks(records: Sequence[Mapping[str, Any]], rows: str) -> list[str]:
    """What the scores of `records` hide, a sentence each; `rows` names the rows, such as `validation`."""
    found, label, answer = [], one_label(records), one_answer(records)
    if label is not None:
        found.append(
            f"all {len(records)} {rows} rows have the label {label}: correlations are 0 there by definition, and F1 "
            "says little. Judge on rows of every class."
        )
    elif answer is not None:
        found.append(
            f"all {len(records)} {rows} rows get the same answer ({answer}): this model has learnt nothing that tells "
            "them apart, whatever its score. Try a lower rate (train.lr), more updates, or another seed."
        )
    return found


def learnt_nothing(records: Sequence[Mapping[str, Any]]) -> bool:
    """Whether all answers are alike though the labels are not."""
    return one_answer(records) is not None and one_label(records) is None


def _same(records: Sequence[Mapping[str, Any]], key: str) -> str | None:
    values = {_plain(record[key]) for record in records if key in record}
    return values.pop() if len(values) == 1 and len(records) > 1 else None


def _plain(value: Any) -> str:
    # Scores of a collapsed regression differ in the last digits of float32.
    return f"{value:.4g}" if isinstance(value, float) else str(value)
