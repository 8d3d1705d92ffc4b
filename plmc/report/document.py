"""The report of an outputs folder: for each task table, picture, exports, speed, and the commands behind every row."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from plmc.errors import PlmcError
from plmc.report import html, render, variants
from plmc.report.classes import classes
from plmc.report.compare import Table
from plmc.report.labels import arm_labels
from plmc.report.pareto import figure_of
from plmc.report.speed import interval
from plmc.results import measurements
from plmc.results.find import Run, arms


def report(runs: Sequence[Run], tables: Sequence[Table], command: str) -> str:
    """One HTML document.

    Args:
        tables: of these very runs (see `plmc.report.compare`).
        command: what made the report.
    """
    tasks = ", ".join(dict.fromkeys(table.task for table in tables))
    when = time.strftime("%Y-%m-%d %H:%M %Z")
    parts = [
        html.heading(1, f"Compressed models: {tasks}"),
        html.paragraph(f"{len(runs)} finished run{'s' * (len(runs) != 1)}, reported on {when} by: {command}", "dim"),
        html.links([(_anchor(table), render.title(table)) for table in tables]),
    ]
    for table in tables:
        parts += _task(table, [run for run in runs if run.table_key == table.key])
    parts += [html.heading(2, "Where it was measured"), *_machines(runs)]
    return html.page(f"plmc report: {tasks}", parts)


def _anchor(table: Table) -> str:
    # Names of tasks are the user's; an address inside the page has room for few characters.
    return re.sub(r"[^A-Za-z0-9_-]+", "-", "-".join(part for part in table.key if part))


def _task(table: Table, runs: Sequence[Run]) -> list[Markup]:
    parts = [html.heading(2, render.title(table), _anchor(table))]
    notes = list(table.notes)
    if table.data_source == "embedded":
        parts.append(html.paragraph(notes.pop(0), "warn"))
    shown = render.columns(table)
    kinds = ["faint" if row.is_teacher else "strong" if row.is_better else "" for row in table.rows]
    parts.append(
        html.table([head for head, _ in shown], ([cell(row) for _, cell in shown] for row in table.rows), kinds=kinds)
    )
    parts += [html.paragraph(note, "notes") for note in notes]
    try:
        figure = figure_of(table.rows, metric=table.primary, columns=2)
        parts.append(
            html.picture(figure, f"{table.primary} against latency and size; the dashed line is the Pareto front.")
        )
    except PlmcError as error:
        parts.append(html.paragraph(str(error), "notes"))
    groups = arms(runs)
    labels = arm_labels(groups)
    parts += classes(groups, labels) + _exports(groups, labels) + _bench(groups, labels)
    parts += [html.heading(3, "Commands"), *_commands(groups, labels)]
    return parts


def _commands(groups: Sequence[Any], labels: Sequence[str]) -> list[Markup]:
    """What makes each run, and once what made a sweep of them."""
    parts: list[Markup] = []
    sweeps: dict[str, set[str]] = {}
    for arm, label in zip(groups, labels, strict=True):
        seeds = ", ".join(str(run.record.seed) for run in arm.runs)
        parts.append(html.paragraph(f"{label}, seed{'s' * (len(arm.runs) > 1)} {seeds}"))
        parts.append(html.code("\n".join(dict.fromkeys(run.record.command for run in arm.runs))))
        for run in arm.runs:
            if sweep := run.record.sweep:
                sweeps.setdefault(sweep, set()).add(label)
    for sweep, made in sweeps.items():
        parts += [html.paragraph(f"The sweep that made {', '.join(sorted(made))}"), html.code(sweep)]
    return parts


def _exports(groups: Sequence[Any], labels: Sequence[str]) -> list[Markup]:
    rows = []
    for arm, label in zip(groups, labels, strict=True):
        for found in variants.of_arm(arm).values():
            for export in found:
                facts, after = export.facts, export.score
                low, high = (facts.get("verification") or {}).get("interval") or (None, None)
                rows.append(
                    [
                        f"{label} > {export.label}",
                        str(export.run.record.seed),
                        f"{100 * export.run.score:.2f}",
                        "not checked" if after is None else f"{100 * after:.2f}",
                        "" if after is None else f"{100 * (after - export.run.score):+.2f}",
                        "" if low is None else f"[{low:+.2f}, {high:+.2f}]",
                        render.number(facts.get("size_bytes"), 1e-6, 2),
                        render.number(facts.get("compact_bytes"), 1e-6, 2),
                    ]
                )
    if not rows:
        return []
    metric = groups[0].first.primary
    heads = (
        "export",
        "seed",
        f"{metric} of the run",
        f"{metric} of the export",
        "change",
        "95 % CI",
        "size MB",
        "compact MB",
    )
    return [html.heading(3, "Exports"), html.table(heads, rows)]


BENCH_HEADS = (
    "model",
    "seed",
    "batch",
    "length",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "rows/s",
    "times as fast [95 % CI]",
    "than",
    "threads",
    "measured on",
    "when",
)


def _bench(groups: Sequence[Any], labels: Sequence[str]) -> list[Markup]:
    rows = []
    for arm, label in zip(groups, labels, strict=True):
        for run in arm.runs:
            for record in measurements.read(run.folder):
                where = record["machine"] if record["device"] == "cpu" else record["device"]
                rows.append(
                    [
                        f"{label} {record['label']}",
                        str(run.record.seed),
                        str(record["batch"]),
                        str(record["length"]),
                        *(f"{record[key]:.2f}" for key in ("p50_ms", "p95_ms", "p99_ms")),
                        f"{record['rows_per_s']:.0f}",
                        interval(record["speedup"]),
                        record["reference"],
                        str(record["threads"]),
                        where,
                        record["when"][:16],
                    ]
                )
    if not rows:
        return []
    rows.sort(key=lambda row: (int(row[2]), row[3]))
    return [
        html.heading(3, "Speed"),
        html.table(BENCH_HEADS, rows),
        html.paragraph(
            "From plmc bench: models took turns on pinned cores; milliseconds are of a whole batch; ratios hold within "
            "one measurement, so compare rows of the same moment.",
            "notes",
        ),
    ]


def _machines(runs: Sequence[Run]) -> list[Markup]:
    rows: dict[tuple[str, ...], int] = {}
    for run in runs:
        machine = run.record.machine
        git = run.record.git
        versions = ", ".join(f"{name} {version}" for name, version in run.record.versions.items())
        memory = f"{machine['memory_bytes'] / 1e9:.0f} GB" if machine.get("memory_bytes") else ""
        place = (
            str(machine.get("cpu", "unknown")),
            str(machine.get("cores", "")),
            ", ".join(machine.get("gpus", [])),
            memory,
            versions,
            f"{git.get('commit', '')[:12]}{' with changes' if git.get('dirty') == 'yes' else ''}",
        )
        rows[place] = rows.get(place, 0) + 1
    heads = ("processor", "cores", "GPUs", "memory", "versions", "plmc commit", "runs")
    return [html.table(heads, [[*place, str(count)] for place, count in rows.items()], texts=(4,))]
