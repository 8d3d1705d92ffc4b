"""The lines of a comparison: one a teacher, one an arm, one an export, each with all that its runs know of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import attrgetter
from typing import Any

from plmc.report import variants
from plmc.report.labels import arm_labels, model_label
from plmc.report.significance import Difference
from plmc.results.find import Arm, Run, Spread, spread

BUSY = 0.3
"""Cores that other processes may keep busy while a run's latency is taken, before the table marks it."""

# Where a figure is written down: in a run's record, in that record of its teacher, in an export's description.
_STUDENT = {
    "parameters": "student.parameters",
    "nonzero": "student.nonzero_parameters",
    "size_bytes": "student.size_bytes",
    "sparsity": "student.sparsity",
    "latency_ms": "latency.batch_1_ms",
    "seconds": "train.seconds",
}
_TEACHER = {name: path.replace("student.", "teacher.") for name, path in _STUDENT.items() if name != "seconds"}
_TEACHER["latency_ms"] = "latency.teacher_batch_1_ms"
_EXPORT = {
    "parameters": "parameters",
    "nonzero": "nonzero_parameters",
    "size_bytes": "size_bytes",
    "compact_bytes": "compact_bytes",
    "latency_ms": "latency.export_ms",
}


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        metrics: fractions, by name.
        figures: what is known of `parameters` and `nonzero` (counts), `size_bytes`, `compact_bytes` (sparse and
            packed), `sparsity`, `kept` (primary metric as a share of the teacher's), `latency_ms` (one row at a time),
            `speedup` (teacher's latency over this one's, both taken in the same run), and `seconds` of training.
        bench_ms: median of a batch by case, from `plmc bench`.
        difference: to the baseline.
        starred: it holds after correction for all arms.
        busy: other processes kept more than `BUSY` of a core busy while latency was taken.
        collapsed: runs that give every row the same answer.
        kind: one of `variants.KINDS`.
        export_of: label of the arm that this row is an export of.
    """

    label: str
    seeds: int
    metrics: Mapping[str, Spread]
    figures: Mapping[str, Spread] = field(default_factory=dict)
    bench_ms: Mapping[str, Spread] = field(default_factory=dict)
    difference: Difference | None = None
    starred: bool = False
    busy: bool = False
    collapsed: int = 0
    kind: str = variants.DENSE
    export_of: str | None = None
    is_teacher: bool = False
    is_baseline: bool = False

    @property
    def is_better(self) -> bool:
        """Whether it beats the baseline for certain."""
        return self.starred and self.difference is not None and self.difference.value > 0

    def mean(self, figure: str) -> float | None:
        """Of one of `figures` over the seeds; None where no run has it."""
        return self.figures[figure][0] if figure in self.figures else None


def arm_rows(group: Sequence[Arm], base: Arm | None = None) -> tuple[list[Row], list[Row]]:
    """The rows of the teachers, and one row per arm, in the given order; without tests."""
    primary = group[0].first.primary
    teachers = _teachers(group)
    reference = teachers[0].metrics.get(primary) if len(teachers) == 1 and "kept" in teachers[0].figures else None
    score = reference[0] if reference else None
    rows = [_arm(arm, label, score, arm is base) for arm, label in zip(group, arm_labels(group), strict=True)]
    return teachers, rows


def _arm(arm: Arm, label: str, teacher_score: float | None, is_baseline: bool) -> Row:
    def share(run: Run) -> float | None:
        # A run's own teacher counts; the table's only teacher is used for runs that had none.
        reference = teacher_score if run.teacher_score is None else run.reference
        return run.score / reference if reference and reference > 0 else None

    def speedup(run: Run) -> float | None:
        own, teacher = run.record.latency.batch_1_ms, run.record.latency.teacher_batch_1_ms
        return teacher / own if own and teacher else None

    return Row(
        label=label,
        seeds=len(arm.runs),
        metrics=_known({name: arm.spread(_metric(name)) for name in _metrics(arm.first)}),
        figures=_known({**_read(arm, _STUDENT), "kept": arm.spread(share), "speedup": arm.spread(speedup)}),
        bench_ms=variants.speeds(arm.runs, "torch_fp32"),
        busy=any((run.record.latency.other_cores or 0) > BUSY for run in arm.runs),
        collapsed=sum(run.collapsed for run in arm.runs),
        kind=variants.kind(arm.first),
        is_baseline=is_baseline,
    )


def export_rows(arm: Arm, own: Row) -> list[Row]:
    """A row for each export that the arm's runs share by name and whose metric was checked.

    Args:
        own: the arm's row.
    """
    rows = []
    for key, found in variants.of_arm(arm).items():
        score = spread([export.score for export in found])
        if score is None:
            continue
        figures = {name: spread([_at(export.facts, path) for export in found]) for name, path in _EXPORT.items()}
        figures["speedup"] = spread([export.speedup for export in found])
        figures["sparsity"] = own.figures.get("sparsity")
        if kept := own.mean("kept"):
            figures["kept"] = (kept * score[0] / own.metrics[arm.first.primary][0], math.nan)
        metrics = {name: spread([export.metrics.get(name) for export in found]) for name in _metrics(arm.first)}
        rows.append(
            Row(
                label=f"{own.label} > {found[0].label}",
                seeds=len(found),
                metrics=_known(metrics),
                figures=_known(figures),
                bench_ms=variants.speeds([export.run for export in found], key),
                busy=own.busy,
                kind=variants.kind(arm.first, found[0].facts.get("quantize") not in variants.FLOAT),
                export_of=own.label,
            )
        )
    return rows


def _teachers(group: Sequence[Arm]) -> list[Row]:
    """One row per teacher name. The same teacher taught many runs, so equal metrics count once."""
    taught: dict[str, list[Run]] = {}
    for arm in group:
        for run in arm.runs:
            if run.record.teacher.metrics:
                taught.setdefault(str(run.record.teacher.name), []).append(run)
    rows = []
    for name, runs in taught.items():
        distinct = list({tuple(sorted((run.record.teacher.metrics or {}).items())): run for run in runs}.values())
        useful = all(run.reference for run in distinct)
        figures = {**_read(Arm(tuple(runs)), _TEACHER), "speedup": (1.0, math.nan)}
        metrics = {metric: Arm(tuple(distinct)).spread(_taught(metric)) for metric in _metrics(distinct[0])}
        rows.append(
            Row(
                label=f"teacher: {model_label(name)}",
                seeds=len(distinct),
                metrics=_known(metrics),
                figures=_known(figures | {"kept": (1.0, math.nan) if useful else None}),
                bench_ms=variants.teacher_speeds(distinct),
                collapsed=sum(run.reference is None for run in distinct),
                is_teacher=True,
            )
        )
    return rows


def _read(arm: Arm, places: Mapping[str, str]) -> dict[str, Spread | None]:
    return {name: spread([attrgetter(path)(run.record) for run in arm.runs]) for name, path in places.items()}


def _at(facts: Mapping[str, Any], path: str) -> Any:
    return reduce(lambda node, key: (node or {}).get(key), path.split("."), facts)


def _known(values: Mapping[str, Spread | None]) -> dict[str, Spread]:
    return {name: value for name, value in values.items() if value}


def _metric(name: str) -> Callable[[Run], float | None]:
    return lambda run: run.record.metrics.get(name)


def _taught(name: str) -> Callable[[Run], float | None]:
    return lambda run: (run.record.teacher.metrics or {}).get(name)


def _metrics(run: Run) -> list[str]:
    """Metric names, the primary one first."""
    return [run.primary, *(name for name in run.record.metrics if name != run.primary)]
