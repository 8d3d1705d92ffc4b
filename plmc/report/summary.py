"""The last word of a run: teacher, the student without a teacher, and this student in one small table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from plmc.report.labels import model_label
from plmc.report.render import number, plus_minus
from plmc.report.rows import Row, arm_rows
from plmc.results.find import Arm, Run, find

if TYPE_CHECKING:
    import rich.table

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


def summary_table(run: Run, outputs: Path) -> rich.table.Table:
    """`summary_rows` for the terminal: quality, share of the teacher kept, parameters, size, latency and speed-up.

    `run` has just ended;

    Args:
        outputs: where to look for the control.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = summary_rows(run, find(outputs, ["recipe=finetune", f"task={run.record.task}"]))
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    drawn.add_column("", overflow="fold", min_width=16)
    for head in (run.primary, "kept", "params", "size", "latency", "speed-up"):
        drawn.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        seeds = f" ({row.seeds} seeds)" if row.seeds > 1 else ""
        cells = [
            row.label + seeds,
            plus_minus(row.metrics.get(run.primary), 100),
            number(row.mean("kept"), 100, 1, " %"),
            number(row.mean("parameters"), 1e-6, 1, " M"),
            number(row.mean("size_bytes"), 1e-6, 1, " MB"),
            number(row.mean("latency_ms"), 1, 2, " ms"),
            number(row.mean("speedup"), 1, 2, "x"),
        ]
        style = "bold" if row is rows[-1] else "dim" if row.is_teacher else None
        drawn.add_row(*(Text(cell) for cell in cells), style=style)
    if run.record.data_source == "embedded":
        drawn.caption = "Made-up data (embedded): this shows that it works, not how good the method is."
        drawn.caption_justify = "left"
    return drawn


def _is_control(other: Run, run: Run) -> bool:
    facts = all(getattr(other.record, key) == getattr(run.record, key) for key in ("task", "data_source"))
    settings = all(other.config.get(key) == run.config.get(key) for key in SHARED)
    return facts and settings and _is_plain(other) and not _is_plain(run)


def _is_plain(run: Run) -> bool:
    """Whether a run is a control itself, which has none: other seeds of it are the same arm."""
    return run.record.recipe == "finetune" and len(run.record.methods) <= 1
