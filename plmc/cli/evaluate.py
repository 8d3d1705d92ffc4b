"""`plmc evaluate`: score a model on a split."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from plmc.errors import DataError


def evaluate(name: str, words: Sequence[str], split: str, outputs: Path, allow: Sequence[str] = ()) -> None:
    """Prints the metrics as a table and writes the records into the run's folder."""
    from rich.table import Table

    from plmc.config.build import build
    from plmc.console import Console
    from plmc.files import write_text
    from plmc.measure import software
    from plmc.models import load
    from plmc.results.pick import pick, settings
    from plmc.tasks.alike import remarks
    from plmc.teachers.make import label_order, reorder
    from plmc.training.evaluate import evaluate as score

    console = Console()
    picked = pick(name, outputs, allow)
    config = settings(picked, words)
    task = build(config["task"], "task")
    source = task.own_source or build(config["data"], "data")
    software.set_threads(config.get("threads"))
    tokenizer = load.load_tokenizer(str(picked.model))
    model = load.load_finetuned(str(picked.model), task)
    raw = source.load(task)
    if split not in raw:
        raise DataError(f"--split {split}: {task.name} from {source.name} has {', '.join(raw)}.")
    rows = task.encode(raw[split], tokenizer, training=False, cache=outputs / "cache")
    if rows.labels is None and "answers" not in raw[split].column_names:
        raise DataError(
            f"the {split} rows of {task.name} carry no labels here. `plmc predict {name} --glue-submission DIR` "
            "answers them."
        )
    order = label_order(
        task,
        model,
        rows,
        given=(config.get("teacher") or {}).get("label_order") if not picked.folder else None,
        pad_id=tokenizer.pad_token_id,
        who=name,
        warn=console.warn,
    )
    reorder(model, order)
    metrics, records = score(model, rows, task, pad_id=tokenizer.pad_token_id, progress=console.each)
    for text in remarks(records, split):
        console.warn(text)
    heading = f"{name} on {task.name}/{split}, {len(raw[split])} rows"
    table = Table(title=heading, title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("metric")
    table.add_column("score", justify="right")
    for metric, value in metrics.items():
        table.add_row(metric, f"{value:.4f}")
    console.rich.print(table)
    if picked.folder:
        path = picked.folder / "predictions" / f"{split}.jsonl"
        write_text(path, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))
        record_of(picked.folder, path)
        console.say(str(path))


def record_of(run: Path, path: Path) -> None:
    """Keeps the digest of a file that was written now in the result of a finished run."""
    from plmc import digests
    from plmc.results.record import FILE, read

    if (run / FILE).is_file():
        record = read(run / FILE)
        if not record.files:  # a run of an earlier version, which knows no digests
            return
        record.files[path.relative_to(run).as_posix()] = digests.of_file(path)
        record.write(run / FILE)
