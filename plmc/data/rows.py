"""From a table to normalised rows: ids, texts and checked labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from plmc.data.tables import Table
from plmc.errors import DataError

if TYPE_CHECKING:
    import datasets

FLOAT32 = float(np.finfo(np.float32).max)
MANY = 20
"""Classes that nobody asks about; above it, numbers with fractions or a class for every other row raise a question."""


def normalise(
    table: Table,
    text: Sequence[str],
    label: str,
    *,
    classes: Mapping[str, int] | None,
    bounds: tuple[float, float] | None = None,
    hidden: bool = False,
    group: str | None = None,
) -> datasets.Dataset:
    """Columns `id`, `text_a`, `text_b` (if two texts are named), `label` and `group` (if one is named) of a table.

    `classes` maps the values of the label column to class ids; None means a score within `bounds`. A table
    without the label column is an error unless its labels may be `hidden`.
    """
    from datasets import Dataset

    columns: dict[str, Any] = {"id": np.arange(len(table), dtype=np.int64)}
    for target, name in zip(("text_a", "text_b"), text, strict=False):
        columns[target] = _texts(table, name)
    if label in table.columns or not hidden:
        values = table.column(label, "the label")
        if classes is None:
            columns["label"] = _scores(table, label, values, bounds)
        else:
            columns["label"] = _class_ids(table, label, values, classes)
    if group is not None:
        columns["group"] = [_as_name(value) for value in table.column(group, "the group")]
    return Dataset.from_dict(columns)


def class_map(labels: Sequence[str]) -> dict[str, int]:
    """What a label column may hold: the name of a class or, unless some name is itself a number, its id."""
    names = {name: number for number, name in enumerate(labels)}
    if any(name.lstrip("-").isdecimal() for name in labels):
        return names
    return names | {str(number): number for number in range(len(labels))}


def _texts(table: Table, name: str) -> list[str]:
    values = table.column(name, "a text")
    for row, value in enumerate(values):
        if not isinstance(value, str):
            found = "nothing" if value is None else f"{value!r}"
            raise DataError(f"{table.where(row)}: the text {name!r} holds {found}, not a string.")
    return values


def _class_ids(table: Table, name: str, values: Sequence[Any], classes: Mapping[str, int]) -> np.ndarray:
    ids = [classes.get(_as_name(value), -1) for value in values]
    if -1 in ids:
        row = ids.index(-1)
        allowed = ", ".join(map(repr, classes))
        raise DataError(f"{table.where(row)}: label {values[row]!r} in column {name!r}; allowed are {allowed}.")
    return np.asarray(ids, dtype=np.int64)


def _scores(table: Table, name: str, values: Sequence[Any], bounds: tuple[float, float] | None) -> np.ndarray:
    low, high = bounds or (-math.inf, math.inf)
    scores = np.empty(len(values), dtype=np.float32)
    for row, value in enumerate(values):
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        # As float32, which the losses see: 1e39 would be infinite there.
        if not (abs(number) <= FLOAT32 and low <= number <= high):
            allowed = f"a number from {low:g} to {high:g}" if bounds else "a finite number below 3.4e38"
            raise DataError(f"{table.where(row)}: label {value!r} in column {name!r}; expected {allowed}.")
        scores[row] = number
    return scores


def _as_name(value: Any) -> str:
    """The text of a label: parquet and JSON hold 1, 1.0 or true where a CSV file holds 1."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def label_names(table: Table, name: str) -> tuple[str, ...]:
    """The different values of a label column, in numerical order if all are whole numbers, else in alphabetical order.

    Raises DataError if there are fewer than two.
    """
    values = table.column(name, "the label")
    for row, value in enumerate(values):
        if value is None or value == "" or value != value:  # the last is NaN, a missing cell of a parquet file
            raise DataError(f"{table.where(row)}: no label in column {name!r}.")
    found = {_as_name(value) for value in values}
    if len(found) < 2:
        raise DataError(
            f"{table.path}: column {name!r} holds the one value {found.pop()!r}; a classifier needs two or more."
        )
    if len(found) > MANY:
        _question(table, name, found)
    numbers = all(value.lstrip("-").isdecimal() for value in found)
    return tuple(sorted(found, key=int) if numbers else sorted(found))


def _question(table: Table, name: str, found: set[str]) -> None:
    """Raises DataError if so many different labels are hardly classes."""
    example = min(found)
    anyway = "Classes all the same? Name them: task.labels=[…]"
    if all(_is_number(value) for value in found) and any("." in value or "e" in value.lower() for value in found):
        raise DataError(
            f"{table.path}: column {name!r} holds {len(found)} different numbers such as {example}. Are they scores? "
            f"Then: task.kind=regression. {anyway}"
        )
    if 2 * len(found) > len(table):
        raise DataError(
            f"{table.path}: column {name!r} holds {len(found)} different values in {len(table)} rows, such as "
            f"{example[:40]!r}. Is it the label? Name the right column (task.label=…; there are "
            f"{', '.join(table.columns)}). {anyway}"
        )


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
