"""The last word of a run: teacher, the student without a teacher, and this student in one small table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from plmc.report.labels import model_label
from plmc.report.render import number, plus_minus
from plmc.report.rows import Row, arm_rows
from plmc.report.tables import Figures
from plmc.results.find import Arm, Run, find

SHARED = ("student", "data", "budget", "train")
"""Config groups in which the fine-tuned control must equal the run."""


def summary_rows(run: Run, others: Sequence[Run] = ()) -> list[Row]:
    """Teacher, the same student fine-tuned without a teacher if `others` holds such a run, and `run` itself.

    The control must share task, data, student and budget with `run`. One of the same seed wins; else all are averaged.
    """
    controls = [other for other in others if _is_control(other, run)]
    controls = [other for other in controls if other.record.seed == run.record.seed] or controls
    groups = [Arm(tuple(controls))] * bool(controls) + [Arm((run,))]
    teachers, rows = arm_rows(groups)
    # The control may have had another teacher; this table shows the run's own.
    name = model_label(str(run.record.teacher.name))
    teachers = [row for row in teachers if row.label == f"teacher: {name}"]
    if controls:
        rows[0] = replace(rows[0], label="same student, fine-tuned without a teacher")
    return [*teachers, *rows]


def summary_table(run: Run, outputs: Path) -> Figures:
    """`summary_rows` for the terminal: quality, share of the teacher kept, parameters, size, latency and speed-up.

    Args:
        run: has just ended.
        outputs: where to look for the control.
    """
    rows = summary_rows(run, find(outputs, ["recipe=finetune", f"task={run.record.task}"]))
    made_up = "Made-up data (embedded): this shows that it works, not how good the method is."
    return Figures(
        ["", run.primary, "kept", "params", "size", "latency", "speed-up"],
        [
            [
                row.label + (f" ({row.seeds} seeds)" if row.seeds > 1 else ""),
                plus_minus(row.metrics.get(run.primary), 100),
                number(row.mean("kept"), 100, 1, " %"),
                number(row.mean("parameters"), 1e-6, 1, " M"),
                number(row.mean("size_bytes"), 1e-6, 1, " MB"),
                number(row.mean("latency_ms"), 1, 2, " ms"),
                number(row.mean("speedup"), 1, 2, "x"),
            ]
            for row in rows
        ],
        styles=["bold" if row is rows[-1] else "dim" if row.is_teacher else None for row in rows],
        notes=[made_up] * (run.record.data_source == "embedded"),
    )


def _is_control(other: Run, run: Run) -> bool:
    facts = all(getattr(other.record, key) == getattr(run.record, key) for key in ("task", "data_source"))
    settings = all(other.config.get(key) == run.config.get(key) for key in SHARED)
    return facts and settings and _is_plain(other) and not _is_plain(run)


def _is_plain(run: Run) -> bool:
    """Whether a run is a control itself, which has none: other seeds of it are the same arm."""
    return run.record.recipe == "finetune" and len(run.record.methods) <= 1
