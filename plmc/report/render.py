"""A comparison on screen, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from plmc.report import tables

if TYPE_CHECKING:
    from plmc.report.compare import Table
    from plmc.report.rows import Row
    from plmc.results.find import Spread

COSTS = (
    ("params M", "parameters", 1e-6),
    ("nonzero M", "nonzero", 1e-6),
    ("size MB", "size_bytes", 1e-6),
    ("compact MB", "compact_bytes", 1e-6),
    ("sparsity %", "sparsity", 100),
)
"""Heading, figure of a row, and the factor to the heading's unit."""

Column = tuple[str, "Callable[[Row], str]"]


def columns(table: Table) -> list[Column]:
    """Headings and cells; a column that no row fills is left out. Metrics in points of 100, sizes in units of 10^6."""
    names = list(dict.fromkeys(name for row in table.rows for name in row.metrics))
    cases = list(dict.fromkeys(case for row in table.rows for case in row.bench_ms))
    wanted: list[Column] = [
        ("arm", lambda row: f"{row.label} (baseline)" if row.is_baseline else row.label),
        ("seeds", lambda row: str(row.seeds)),
        *((name, lambda row, name=name: plus_minus(row.metrics.get(name), 100)) for name in names),
        ("diff [95 % CI]", _difference),
        ("p", lambda row: p_value(row.difference.p) if row.difference else ""),
        ("kept %", lambda row: plus_minus(row.figures.get("kept"), 100, 1)),
        *((head, lambda row, name=name, scale=scale: number(row.mean(name), scale)) for head, name, scale in COSTS),
        # Milliseconds of different runs are of different moments of a machine; ratios are of one.
        (
            "speed-up",
            lambda row: "~" * (row.busy and "speedup" in row.figures) + number(row.mean("speedup"), 1, 2, "x"),
        ),
        *((f"{case} ms", lambda row, case=case: plus_minus(row.bench_ms.get(case), 1)) for case in cases),
        ("train min", lambda row: number(row.mean("seconds"), 1 / 60)),
    ]
    return [(head, cell) for head, cell in wanted if any(cell(row) for row in table.rows)]


def plus_minus(value: Spread | None, scale: float, digits: int = 2) -> str:
    """`91.28 ± 0.31`; without the ± for a single seed, empty for None."""
    if value is None:
        return ""
    mean, deviation = value
    text = f"{mean * scale:.{digits}f}"
    return text if math.isnan(deviation) else f"{text} ± {deviation * scale:.{digits}f}"


def number(value: float | None, scale: float, digits: int = 1, unit: str = "") -> str:
    """A scaled number with its unit, empty for None."""
    return "" if value is None else f"{value * scale:.{digits}f}{unit}"


def p_value(p: float) -> str:
    """Three decimals, or a bound below them."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _difference(row: Row) -> str:
    if row.difference is None:
        return ""
    value, low, high = (100 * x for x in (row.difference.value, row.difference.low, row.difference.high))
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]{' *' if row.starred else ''}"


def title(table: Table) -> str:
    """`task rte, data from local`, and the evaluation rows where there are several sets of them."""
    source = f", data from {table.data_source}" if table.data_source else ""
    return f"task {table.task}{source}{f', rows of {table.rows_of}' if table.rows_of else ''}"


def _cells(table: Table) -> tuple[list[str], list[list[str]]]:
    shown = columns(table)
    return [head for head, _ in shown], [[cell(row) for _, cell in shown] for row in table.rows]


def rich_table(table: Table) -> tables.Figures:
    """The table for the terminal: `console.print(rich_table(table))`."""
    styles = ["dim" if row.is_teacher else "bold" if row.is_better else None for row in table.rows]
    return tables.Figures(*_cells(table), title=title(table), styles=styles, notes=table.notes)


def markdown(found: Sequence[Table]) -> str:
    """GitHub-flavoured tables, one section per task."""
    parts = []
    for table in found:
        notes = "\n".join(f"- {note}" for note in table.notes)
        parts.append(f"### {title(table)}\n\n{tables.markdown(*_cells(table))}\n\n{notes}")
    return "\n\n".join(parts) + "\n"


def csv_text(found: Sequence[Table]) -> str:
    """All tables as one CSV with unrounded figures: fractions, counts, bytes, milliseconds, minutes."""
    rows = [(table, row) for table in found for row in table.rows]
    names = list(dict.fromkeys(name for _, row in rows for name in row.metrics))
    cases = list(dict.fromkeys(case for _, row in rows for case in row.bench_ms))
    lines = [_line(table, row, names, cases) for table, row in rows]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def _line(table: Table, row: Row, names: Sequence[str], cases: Sequence[str]) -> dict[str, Any]:
    """A line of the CSV by heading."""
    cells: dict[str, Any] = {"task": table.task, "data_source": table.data_source, "arm": row.label}
    cells |= {"is_teacher": row.is_teacher, "is_baseline": row.is_baseline, "seeds": row.seeds}
    for name in names:
        cells[f"{name}_mean"], cells[f"{name}_std"] = _pair(row.metrics.get(name))
    cells |= {name: row.mean(name) for name in ("kept", "parameters", "nonzero", "size_bytes", "sparsity")}
    cells["latency_ms"], cells["latency_ms_std"] = _pair(row.figures.get("latency_ms"))
    seconds, test = row.mean("seconds"), row.difference
    cells |= {"speedup": row.mean("speedup"), "train_minutes": None if seconds is None else seconds / 60}
    cells |= {"difference": test and test.value, "difference_low": test and test.low}
    cells |= {"difference_high": test and test.high, "p": test and test.p, "starred": test and row.starred}
    cells |= {"kind": row.kind, "export_of": row.export_of, "compact_bytes": row.mean("compact_bytes")}
    return cells | {f"{case} ms": _pair(row.bench_ms.get(case))[0] for case in cases}


def _pair(value: Spread | None) -> tuple[float | None, float | None]:
    if value is None:
        return None, None
    return value[0], None if math.isnan(value[1]) else value[1]
