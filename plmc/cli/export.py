"""`plmc export`: a trained model in the form that is deployed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from plmc.config.paths import check_place
from plmc.core.fields import check_number
from plmc.errors import ConfigError, DataError


def export(
    name: str,
    words: Sequence[str],
    to: str,
    quantize: str | None,
    max_drop: float,
    force: bool,
    out: Path | None,
    rows: int | None,
    outputs: Path,
    allow: Sequence[str] = (),
) -> None:
    """Writes the export, verifies it, prints its figures and logs them to the run's MLflow run."""
    from plmc.config.schemes import NONE, Plan
    from plmc.results.pick import pick, settings

    plan = Plan(to, quantize or NONE)
    check_number(rows, "--rows", 1, 10**9)
    check_number(max_drop, "--max-drop", 0, 100)
    if out is not None:
        check_place(out, "--out")
        if out.is_file():
            raise ConfigError(f"--out {out}: this is a file. Name a folder.")
    picked = pick(name, outputs, allow)
    config = settings(picked, words)

    from plmc.config.build import build
    from plmc.console import Console
    from plmc.export.make import make
    from plmc.export.source import Source
    from plmc.export.table import table
    from plmc.export.track import log_to_run
    from plmc.measure import software
    from plmc.models import load
    from plmc.tasks.rows import subset

    console = Console()
    software.own_bars_only()
    task = build(config["task"], "task")
    software.set_threads(config.get("threads"))
    tokenizer = load.load_tokenizer(str(picked.model))
    load.load_finetuned(str(picked.model), task)
    raw = (task.own_source or build(config["data"], "data")).load(task)
    split = next((part for part in raw if part.startswith("validation")), None)
    if split is None:
        raise DataError(
            f"{task.name}: the data has no validation rows to verify an export on (splits: {', '.join(raw)})."
        )
    cache = outputs / "cache"
    evaluation = task.encode(subset(raw[split], rows), tokenizer, training=False, cache=cache)
    train = None
    if plan.calibrated and "train" in raw:
        from plmc.export.make import CALIBRATION_ROWS

        train = task.encode(subset(raw["train"], CALIBRATION_ROWS), tokenizer, training=True, cache=cache)
    run = picked.folder
    source = Source(picked.model, task, evaluation, train, tokenizer.pad_token_id, run, run.name if run else None)
    folder = (out or (run or picked.model) / "export" / plan.name).expanduser()
    facts = make(source, plan, folder, console=console, max_drop=max_drop, force=force)
    if run:
        log_to_run(run, folder, facts, console)
    console.rich.print(table({folder.name: facts}))
    console.rich.print(str(folder), soft_wrap=True)
