"""Arms side by side: one table per task and data source, the teacher first, each arm against a baseline."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any

from plmc.errors import PlmcError
from plmc.report import variants
from plmc.report.labels import arm_labels, model_label
from plmc.report.significance import MCNEMAR, Difference, holm, mcnemar, paired_bootstrap
from plmc.results.find import Arm, Run, arms

Spread = tuple[float, float]
"""Mean and standard deviation over seeds (nan for one seed)."""

LEVEL = 0.05
BUSY = 0.3
"""Cores that other processes may keep busy while a run's latency is taken, before the table marks it."""
EXPORT_FACTS = ("parameters", "nonzero_parameters", "size_bytes", "compact_bytes")


@dataclass(frozen=True)
class Row:
    """One line of a table. Every figure is None where no run has it.

    Attributes:
        metrics: fractions, by name.
        kept: primary metric as a share of the teacher's.
        size_bytes: weights on disk.
        latency_ms: one row at a time.
        speedup: teacher's latency over the student's, both taken in the same run.
        busy: other processes kept more than `BUSY` of a core busy meanwhile.
        minutes: training time.
        difference: to the baseline.
        starred: it holds after correction for all arms.
        collapsed: runs that give every row the same answer.
        bench_ms: median of a batch by case, from `plmc bench`.
        compact_bytes: sparse and packed.
        kind: one of `variants.KINDS`.
        export_of: label of the arm that this row is an export of.
    """

    label: str
    seeds: int
    metrics: Mapping[str, Spread]
    is_teacher: bool = False
    is_baseline: bool = False
    kept: Spread | None = None
    parameters: float | None = None
    nonzero: float | None = None
    size_bytes: float | None = None
    sparsity: float | None = None
    latency_ms: Spread | None = None
    speedup: Spread | None = None
    minutes: Spread | None = None
    difference: Difference | None = None
    starred: bool = False
    busy: bool = False
    collapsed: int = 0
    bench_ms: Mapping[str, Spread] = field(default_factory=dict)
    compact_bytes: float | None = None
    kind: str = variants.DENSE
    export_of: str | None = None


@dataclass(frozen=True)
class Table:
    """All arms of one task, data source and set of evaluation rows. `notes` belong under the table.

    Attributes:
        key: see `Run.table_key`.
        rows_of: names the evaluation rows where the task and source have several sets of them.
    """

    key: tuple[str, str, str]
    primary: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = field(default=())
    rows_of: str = ""

    @property
    def task(self) -> str:
        """Its name."""
        return self.key[0]

    @property
    def data_source(self) -> str:
        """Its name, empty where runs do not say it."""
        return self.key[1]


def compare(runs: Sequence[Run], baseline: str | None = None, *, resamples: int = 10_000, seed: int = 0) -> list[Table]:
    """Tables of all runs, one per task, data source and evaluation rows; runs that differ in their seed only are one
    row.

    `baseline` picks the row that the others are tested against: a label, a recipe, or the start of a signature; without
    it, the `finetune` recipe with the fewest methods. Differences are of the primary metric, by paired bootstrap over
    the stored predictions (see `plmc.report.significance`), starred where p < 0.05 after Holm's correction.
    Raises PlmcError without runs, or if no table has the baseline asked for.
    """
    if not runs:
        raise PlmcError("There are no finished runs to compare. `plmc ls runs` lists what is there.")
    tables: dict[tuple[str, str, str], list[Run]] = {}
    for run in runs:
        tables.setdefault(run.table_key, []).append(run)
    groups = {key: arms(members) for key, members in tables.items()}
    bases = {key: _baseline(group, baseline) for key, group in groups.items()}
    if baseline is not None and not any(bases.values()):
        labels = sorted({run.label for run in runs})
        raise PlmcError(f"--baseline {baseline}: no such arm. There are: {', '.join(labels)}.")
    made = [_table(key, group, bases[key], resamples, seed) for key, group in groups.items()]
    names = [key[:2] for key in groups]
    return [
        replace(table, rows_of=_rows_of(groups[table.key][0].first)) if names.count(table.key[:2]) > 1 else table
        for table in made
    ]


def _rows_of(run: Run) -> str:
    """The evaluation file and the beginning of its digest, or where the rows come from."""
    task, data = run.config.get("task") or {}, run.config.get("data") or {}
    place = task.get("validation") or data.get("root") or ""
    return " ".join(part for part in (PurePath(place).name, f"#{run.table_key[2]}" if run.table_key[2] else "") if part)


def _baseline(candidates: Sequence[Arm], asked: str | None) -> Arm | None:
    if asked is None:
        plain = [arm for arm in candidates if arm.first.record.recipe == "finetune"]
        return min(plain, key=lambda arm: (len(arm.first.record.methods), len(arm.first.label)), default=None)
    tests: list[Callable[[Arm], bool]] = [
        lambda arm: arm.first.label == asked,
        lambda arm: arm.first.record.recipe == asked,
        lambda arm: any(run.signature.startswith(asked) for run in arm.runs),
    ]
    for test in tests:
        found = [arm for arm in candidates if test(arm)]
        if len(found) > 1:
            names = "; ".join(f"{arm.first.label} ({arm.first.signature})" for arm in found)
            raise PlmcError(f"--baseline {asked} fits several arms: {names}. Give the start of a signature.")
        if found:
            return found[0]
    return None


def _table(key: tuple[str, str, str], group: Sequence[Arm], base: Arm | None, resamples: int, seed: int) -> Table:
    primary = group[0].first.primary
    notes: list[str] = []
    teachers, rows = figures(group, base)
    if base is not None:
        for i, arm in enumerate(group):
            if arm is not base:
                try:
                    difference = _difference(primary, arm, base, resamples, seed)
                except PlmcError as error:
                    notes.append(f"{rows[i].label}: not tested against the baseline. {error}")
                    continue
                rows[i] = replace(rows[i], difference=difference)
        _star(rows)
    rows += [row for arm, own in zip(group, list(rows), strict=True) for row in _exports(arm, own)]
    rows.sort(key=lambda row: (not row.is_baseline, -_mean(row.metrics.get(primary), default=-math.inf)))
    if key[1] == "embedded":
        notes.insert(0, "Made-up data (embedded): the figures show that the programme works, not how good a method is.")
    notes += _collapsed([*teachers, *rows]) + _footnotes(rows, resamples)
    return Table(key, primary, (*teachers, *rows), tuple(notes))


def figures(group: Sequence[Arm], base: Arm | None = None) -> tuple[list[Row], list[Row]]:
    """The rows of the teachers, and one row per arm, in the given order; without tests."""
    primary = group[0].first.primary
    teachers = _teachers(group)
    reference = teachers[0].metrics.get(primary) if len(teachers) == 1 and teachers[0].kept else None
    score = reference[0] if reference else None
    rows = [_row(arm, label, score, arm is base) for arm, label in zip(group, arm_labels(group), strict=True)]
    return teachers, rows


def _row(arm: Arm, label: str, teacher_score: float | None, is_baseline: bool) -> Row:
    def share(run: Run) -> float | None:
        # A run's own teacher counts; the table's only teacher is used for runs that had none.
        reference = teacher_score if run.teacher_score is None else run.reference
        return run.score / reference if reference and reference > 0 else None

    def speedup(run: Run) -> float | None:
        own, teacher = _at(run, "latency", "batch_1_ms"), _at(run, "latency", "teacher_batch_1_ms")
        return teacher / own if own and teacher else None

    def minutes(run: Run) -> float | None:
        seconds = _at(run, "train", "seconds")
        return None if seconds is None else seconds / 60

    metrics = {name: arm.spread(_metric(name)) for name in _metrics(arm.first)}
    return Row(
        label=label,
        seeds=len(arm.runs),
        metrics={name: value for name, value in metrics.items() if value},
        is_baseline=is_baseline,
        kept=arm.spread(share),
        parameters=_first(arm.spread(lambda run: _at(run, "student", "parameters"))),
        nonzero=_first(arm.spread(lambda run: _at(run, "student", "nonzero_parameters"))),
        size_bytes=_first(arm.spread(lambda run: _at(run, "student", "size_bytes"))),
        sparsity=_first(arm.spread(lambda run: _at(run, "student", "sparsity"))),
        latency_ms=arm.spread(lambda run: _at(run, "latency", "batch_1_ms")),
        speedup=arm.spread(speedup),
        busy=any((_at(run, "latency", "other_cores") or 0) > BUSY for run in arm.runs),
        minutes=arm.spread(minutes),
        bench_ms=variants.speeds(arm.runs, "torch_fp32"),
        kind=variants.kind(arm.first),
        collapsed=sum(run.collapsed for run in arm.runs),
    )


def _exports(arm: Arm, own: Row) -> list[Row]:
    """A row for each export that the arm's runs share by name and whose metric was checked."""
    rows = []
    for key, found in variants.of_arm(arm).items():
        score = variants.spread([export.score for export in found])
        if score is None:
            continue
        metrics = {name: variants.spread([e.metrics.get(name) for e in found]) for name in _metrics(arm.first)}
        mean = {name: variants.spread([export.facts.get(name) for export in found]) for name in EXPORT_FACTS}
        first = found[0]
        rows.append(
            Row(
                label=f"{own.label} > {first.label}",
                seeds=len(found),
                metrics={name: value for name, value in metrics.items() if value},
                kept=(own.kept[0] * score[0] / own.metrics[arm.first.primary][0], math.nan) if own.kept else None,
                parameters=_first(mean["parameters"]),
                nonzero=_first(mean["nonzero_parameters"]),
                size_bytes=_first(mean["size_bytes"]),
                compact_bytes=_first(mean["compact_bytes"]),
                sparsity=own.sparsity,
                latency_ms=variants.spread([(export.facts.get("latency") or {}).get("export_ms") for export in found]),
                speedup=variants.spread([export.speedup for export in found]),
                busy=own.busy,
                bench_ms=variants.speeds([export.run for export in found], key),
                kind=variants.kind(arm.first, first.facts.get("quantize") not in variants.FLOAT),
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
        all_of_it = Arm(tuple(runs))
        metrics = {metric: Arm(tuple(distinct)).spread(_taught(metric)) for metric in _metrics(distinct[0])}
        rows.append(
            Row(
                label=f"teacher: {model_label(name)}",
                seeds=len(distinct),
                metrics={metric: value for metric, value in metrics.items() if value},
                is_teacher=True,
                kept=(1.0, math.nan) if all(run.reference for run in distinct) else None,
                collapsed=sum(run.reference is None for run in distinct),
                parameters=_first(all_of_it.spread(lambda run: _at(run, "teacher", "parameters"))),
                nonzero=_first(all_of_it.spread(lambda run: _at(run, "teacher", "nonzero_parameters"))),
                size_bytes=_first(all_of_it.spread(lambda run: _at(run, "teacher", "size_bytes"))),
                sparsity=_first(all_of_it.spread(lambda run: _at(run, "teacher", "sparsity"))),
                latency_ms=all_of_it.spread(lambda run: _at(run, "latency", "teacher_batch_1_ms")),
                speedup=(1.0, math.nan),
                bench_ms=variants.teacher_speeds(distinct),
            )
        )
    return rows


def _difference(primary: str, arm: Arm, base: Arm, resamples: int, seed: int) -> Difference:
    split = base.first.split()
    ours, theirs = ([run.predictions(split) for run in side.runs] for side in (arm, base))
    difference = paired_bootstrap(primary, ours, theirs, resamples=resamples, seed=seed)
    if primary == "accuracy" and len(ours) == len(theirs) == 1:
        # Two classifiers on the same rows: the exact test needs no resampling. It knows no seeds.
        return replace(difference, p=mcnemar(ours[0], theirs[0]), test=MCNEMAR)
    return difference


def _star(rows: list[Row]) -> None:
    tested = [i for i, row in enumerate(rows) if row.difference]
    for i, p in zip(tested, holm([rows[i].difference.p for i in tested]), strict=True):
        rows[i] = replace(rows[i], starred=p < LEVEL)


def _collapsed(rows: Sequence[Row]) -> list[str]:
    return [
        f"{row.label}: {'has learnt nothing' if row.is_teacher else 'every row gets the same answer'}"
        + (f" ({row.collapsed} of {row.seeds} seeds)" if row.seeds > 1 else "")
        + (", so no share of its score is given." if row.is_teacher else ", whatever the score says.")
        for row in rows
        if row.collapsed
    ]


def _footnotes(rows: Sequence[Row], resamples: int) -> list[str]:
    notes = []
    count = sum(row.difference is not None for row in rows)
    if count:
        base = next(row.label for row in rows if row.is_baseline)
        tests = " or ".join(sorted({row.difference.test for row in rows if row.difference}))
        notes.append(
            f"diff: to '{base}', 95 % interval by paired bootstrap over examples ({resamples} resamples), p by "
            f"{tests}; * p < {LEVEL} after Holm's correction (comparisons: {count})."
        )
    if any(row.speedup for row in rows):
        text = (
            "speed-up: the teacher's latency over the arm's, timed in turns when the run ended (exports: with their "
            "model)."
        )
        if any(row.busy and row.speedup for row in rows):
            text += " ~: other processes kept the machine busy meanwhile."
        notes.append(f"{text} Times side by side: plmc bench RUN … --exports")
    if any(row.seeds > 1 for row in rows):
        notes.append("±: standard deviation over seeds.")
    elif rows:
        notes.append("One seed per arm: the spread over seeds is unknown. Add seeds: -m seed=1,2,3")
    return notes


def _metric(name: str) -> Callable[[Run], float | None]:
    return lambda run: run.record.metrics.get(name)


def _taught(name: str) -> Callable[[Run], float | None]:
    return lambda run: (run.record.teacher.metrics or {}).get(name)


def _metrics(run: Run) -> list[str]:
    """Metric names, the primary one first."""
    return [run.primary, *(name for name in run.record.metrics if name != run.primary)]


def _at(run: Run, part: str, key: str) -> Any:
    return getattr(getattr(run.record, part), key)


def _first(value: Spread | None) -> float | None:
    return value[0] if value else None


def _mean(value: Spread | None, *, default: float) -> float:
    return value[0] if value else default
