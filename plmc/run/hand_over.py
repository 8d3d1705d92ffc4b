"""What a finished run leaves for people: curves, a picture of its errors, a model card; and all of it in MLflow."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from plmc.config.resolve import Run
from plmc.core.rows import TaskData
from plmc.files import replacing, write_text
from plmc.report.card import model_card
from plmc.report.plots import history, plot_predictions, plot_training
from plmc.results.record import Record
from plmc.run import pages

ADAPTER = "adapter"
"""The part of a run's model that was trained, in a folder of the run."""


def describe(run: Run, record: Record, data: TaskData) -> None:
    """Writes `plots/*.png` and the model cards into the run's folder."""
    folder = run.folder
    events = folder / "tracking" / "events.jsonl"
    with replacing(folder / "plots") as plots:
        plot_training(history(events), plots / "training.png", record.stages)
        for name in data.evaluation if run.task.head.pictured else ():  # no answers a picture could show
            records = [json.loads(line) for line in (folder / "predictions" / f"{name}.jsonl").open(encoding="utf-8")]
            plot_predictions(records, plots / f"{name}.png", run.task.labels)
    describe_model(run, record)


def describe_model(run: Run, record: Record) -> None:
    """Writes the model card, into the run's folder and next to the weights."""
    folder = run.folder
    papers = {run.recipe.name: run.recipe.paper} if run.recipe.paper else {}
    hub_id = run.student.name if "/" in run.student.name and not Path(run.student.name).exists() else None
    for where, place in ((folder, "model"), (folder / "model", ".")):
        card = model_card(
            record,
            run.task.head,
            base_model=hub_id,
            papers=papers,
            machine=record.machine,
            place=place,
            labels=run.task.labels,
        )
        write_text(where / "README.md", card)


def send(run: Run, record: Record, tracker: Any, data: TaskData) -> None:
    """Everything of the finished run that MLflow is to have apart from the curves."""
    folder, last = run.folder, sum(stage.steps for stage in record.stages)
    figures = {
        "size/parameters": record.student.parameters,
        "size/nonzero_parameters": record.student.nonzero_parameters,
        "size/bytes": record.student.size_bytes,
        "size/sparsity": record.student.sparsity,
        "train/seconds": record.train.seconds,
        "train/samples_per_second": record.train.samples_per_second,
        "latency/batch_1_ms": record.latency.batch_1_ms,
        "latency/teacher_batch_1_ms": record.latency.teacher_batch_1_ms,
    }
    for name, value in (record.teacher.metrics or {}).items():
        figures[f"teacher/{name}"] = value
    tracker.log({name: value for name, value in figures.items() if value is not None}, last)
    for path in (folder / "config.yaml", folder / "about.json", folder / "README.md"):
        tracker.artifact(path)
    with tempfile.TemporaryDirectory() as place:
        # The run's own result.json is written when all of this has been sent.
        (Path(place) / "result.json").write_text(
            json.dumps(record.model_dump(), indent=2, ensure_ascii=False), encoding="utf-8"
        )
        tracker.artifact(Path(place) / "result.json")
    tracker.tag({"mlflow.note.content": pages.note(run, record)})
    for part in ("plots", "predictions", ADAPTER):
        if (folder / part).is_dir():
            tracker.artifact(folder / part)
    if run.settings.tracking.model and run.task.head.mlflow_pipeline:
        row = next(iter(data.evaluation.values())).raw[0]
        example = run.task.head.example([row[name] for name in run.task.text])
        tracker.model(folder / "model", head=run.task.head, example=example, max_length=run.task.max_length, step=last)
