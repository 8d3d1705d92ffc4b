"""Arms side by side: one table per task and data source, the teacher first, each arm against a baseline."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath

from plmc.errors import PlmcError
from plmc.report.rows import Row, arm_rows, export_rows
from plmc.report.significance import MCNEMAR, Difference, grouped, holm, mcnemar, paired_bootstrap
from plmc.results.find import Arm, Run, arms

LEVEL = 0.05


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
    teachers, rows = arm_rows(group, base)
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
    rows += [row for arm, own in zip(group, list(rows), strict=True) for row in export_rows(arm, own)]
    rows.sort(key=lambda row: (not row.is_baseline, -row.metrics.get(primary, (-math.inf,))[0]))
    if key[1] == "embedded":
        notes.insert(0, "Made-up data (embedded): the figures show that the programme works, not how good a method is.")
    notes += _collapsed([*teachers, *rows]) + _footnotes(rows, resamples)
    return Table(key, primary, (*teachers, *rows), tuple(notes))


def _difference(primary: str, arm: Arm, base: Arm, resamples: int, seed: int) -> Difference:
    split = base.first.split()
    ours, theirs = ([run.predictions(split) for run in side.runs] for side in (arm, base))
    difference = paired_bootstrap(primary, ours, theirs, resamples=resamples, seed=seed)
    if primary == "accuracy" and len(ours) == len(theirs) == 1 and not grouped(ours[0]):
        # Two classifiers on the same rows: the exact test needs no resampling. It knows neither seeds nor groups.
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
    if any("speedup" in row.figures for row in rows):
        text = (
            "speed-up: the teacher's latency over the arm's, timed in turns when the run ended (exports: with their "
            "model)."
        )
        if any(row.busy and "speedup" in row.figures for row in rows):
            text += " ~: other processes kept the machine busy meanwhile."
        notes.append(f"{text} Times side by side: plmc bench RUN … --exports")
    if any(row.seeds > 1 for row in rows):
        notes.append("±: standard deviation over seeds.")
    elif rows:
        notes.append("One seed per arm: the spread over seeds is unknown. Add seeds: -m seed=1,2,3")
    return notes
