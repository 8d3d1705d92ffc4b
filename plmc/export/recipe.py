"""`quantize=…` at the end of a training run: exports of its final model into `RUN/export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from plmc.config.resolve import Run
from plmc.config.schemes import asked
from plmc.console import Console
from plmc.core.rows import TaskData
from plmc.errors import ExportError
from plmc.export.make import make
from plmc.export.source import Source
from plmc.export.table import table
from plmc.export.track import hand_over, log_to_run
from plmc.models import load
from plmc.results.record import Record

FOLDER = "export"
REFUSED = "refused"


def exports(run: Run, data: TaskData, console: Console, tracker: Any = None) -> dict[str, dict[str, Any]]:
    """Every export that the run's config asks for, by name: its figures, or why it was refused.

    Exports that are there already are kept.

    Args:
        tracker: the run's open tracker; None opens the one the run had.
    """
    folder, found, shown = run.folder / "model", {}, {}
    pad_id = load.load_tokenizer(str(folder)).pad_token_id
    evaluation = next(iter(data.evaluation.values()))
    source = Source(folder, run.task, evaluation, data.train, pad_id, run.folder, run.signature)
    for plan in asked(run.settings.plain.quantize):
        out = run.folder / FOLDER / plan.name
        try:
            facts = make(source, plan, out, console=console)
        except ExportError as error:
            # The run itself is good: its result is kept, and the command says at its end what it did not make.
            found[plan.name] = {REFUSED: str(error)}
            continue
        hand_over(tracker, out, facts) if tracker else log_to_run(run.folder, out, facts, console)
        found[plan.name], shown[plan.name] = summary(facts, out), facts
    if shown:
        console.rich.print(table(shown))
    return found


def summary(facts: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The lines of an export in the run's `result.json`."""
    keys = ("format", "quantize", "size_bytes", "compact_bytes", "compression_ratio", "encoder_compression_ratio")
    checked = facts["verification"]
    return {key: facts[key] for key in keys} | {
        "metrics": checked["metrics_after"],
        "change_points": checked["change"],
        "interval_points": checked["interval"],
        "batch_1_ms": facts["latency"]["export_ms"],
        "speedup": facts["latency"]["speedup"],
        "folder": str(folder),
    }


def missing(run: Run, record: Record) -> bool:
    """Whether a finished run lacks an export that is asked for now."""
    made = record.exports
    return any(plan.name not in made or REFUSED in made[plan.name] for plan in asked(run.settings.plain.quantize))


def refuse(run: Run, record: Record) -> None:
    """Raises ExportError if an export that is asked for was refused."""
    made = record.exports
    names = [plan.name for plan in asked(run.settings.plain.quantize)]
    reasons = [made[name][REFUSED] for name in names if REFUSED in made.get(name, {})]
    if reasons:
        raise ExportError(
            f"the run is finished and kept ({run.folder}), but exports of it failed. " + " ".join(reasons)
        )
