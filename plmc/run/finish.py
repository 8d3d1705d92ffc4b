"""The end of a run: the model is saved and proven to be the judged one, measured, described, handed to MLflow."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import torch

from plmc import digests
from plmc.config.resolve import Run
from plmc.console import Console
from plmc.core.chain import Chain
from plmc.core.method import Method
from plmc.data import snapshots
from plmc.errors import DamagedFile, TrainingError
from plmc.files import replacing
from plmc.measure import figures, software
from plmc.measure.host import Load
from plmc.models import load as models
from plmc.models import part
from plmc.models.edits.record import edits
from plmc.models.peft_adapter import makes
from plmc.results.record import Latency, Record, Student, Teacher, Tracked, Training, read
from plmc.run import hand_over, pages
from plmc.run.hand_over import ADAPTER
from plmc.run.session import Session
from plmc.run.stages import Stages
from plmc.tasks import alike
from plmc.teachers.make import reorder
from plmc.training.evaluate import evaluate

SMALL = 0.5
"""The largest share of a model that is worth keeping as a part."""


def finish(session: Session, stages: Stages) -> Record:
    """Everything after the last update; returns the run's record.

    Measurements are made once and kept: taken up after a crash, the model card and MLflow get the same figures again,
    and so the same model instead of a second one.
    """
    run, console, tracker, data = session.run, session.console, session.tracker, session.data
    measured = run.folder / "stages" / "measured.json"
    record = _measured(run.folder, measured, console)
    if record is None:
        _measure(session, stages).write(measured)
        record = read(measured)
    tracker.log({f"final/{name}": value for name, value in record.metrics.items()}, stages.step)
    if run.settings.plain.quantize:
        from plmc.export.recipe import exports

        record.exports = exports(run, data, console, tracker)
    hand_over.describe(run, record, data)
    hand_over.send(run, record, tracker, data)
    return record


def _measured(folder: Path, path: Path, console: Console) -> Record | None:
    """What was measured before and still holds; None where it is to be measured, also because a file is damaged."""
    if not (path.is_file() and (folder / "model").is_dir()):
        return None
    try:
        record = read(path)
    except DamagedFile as error:
        text: str | None = str(error)
    else:
        text = digests.differs(folder, record.files)
    if text:
        console.warn(f"{text} The model is saved and measured again.")
        return None
    return record


def _measure(session: Session, stages: Stages) -> Record:
    """Saves the model and its predictions, and measures what was saved."""
    run, console, tracker, data = session.run, session.console, session.tracker, session.data
    teacher, tokenizer = session.teacher, session.tokenizer
    model = stages.model.to("cpu").eval()
    folder = run.folder
    with replacing(folder / "model") as temporary:
        model.save_pretrained(temporary)
        # A fresh one: the tokenizer remembers how it was called last, and with a warm cache it was not called at all.
        stages.fresh_tokenizer().save_pretrained(temporary)
    reloaded = _prove(run, model, folder / "model")
    _leave(run, stages, model)

    metrics: dict[str, float] = {}
    collapsed: list[str] = []
    for i, (name, split) in enumerate(data.evaluation.items()):
        scores, records = evaluate(reloaded, split, run.task, pad_id=tokenizer.pad_token_id, progress=console.each)
        suffix = "" if i == 0 else "_" + name.removeprefix("validation_")
        metrics |= {f"{metric}{suffix}": value for metric, value in scores.items()}
        for text in alike.remarks(records, name):
            console.warn(text)
        collapsed += [name] * alike.learnt_nothing(records)
        _write_lines(folder / "predictions" / f"{name}.jsonl", records)
    _prove_score(run, stages, metrics)
    named = run.teacher.checkpoint or run.teacher.name
    return Record(
        signature=run.signature,
        recipe=run.recipe.name,
        task=run.task.name,
        data_source=run.source.name,
        seed=run.seed,
        methods=sorted({name for stage in run.stages for name in stage.methods}),
        families=sorted({m.family for stage in run.stages for m in stage.methods.values()} - {""}),
        stages=[
            done.model_copy(update={"seconds": round(done.seconds, 3), "settings": pages.settings(stage)})
            for done, stage in zip(stages.results, run.stages, strict=True)
        ],
        metrics=metrics,
        collapsed=collapsed,
        teacher=Teacher(
            learned_from=run.learns_from_teacher,
            name=named,
            metrics=teacher.metrics if teacher else None,
            commit=snapshots.commit(named) if teacher else None,
            digest=teacher.digest if teacher else None,
            learnt_nothing=teacher.learnt_nothing(run.task.metric) if teacher else None,
            **(teacher.size.model_dump() if teacher else {}),
        ),
        student=Student(
            name=run.student.name,
            commit=snapshots.commit(run.student.name),
            edits=[made["name"] for made in edits(model.config)],
            **figures.figures(model, folder / "model"),
        ),
        data_commit=_data_commit(run),
        train=_training(session, stages),
        latency=_latency(session, reloaded),
        mlflow=Tracked(tracking_uri=tracker.uri, experiment_id=tracker.experiment_id, run_id=tracker.run_id),
        versions=software.versions(),
        machine=figures.machine(),
        primary_metric=run.task.metric,
        role=run.role,
        label=run.label,
        command=run.command,
        sweep=run.sweep if run.role != "teacher" else "",
        git=software.git_state(),
        precision=run.precision,
        warnings=console.warnings,
        folder=str(folder),
        files=digests.of_files(folder, ("seen.npy", "model/*", "models/*/*", "predictions/*.jsonl", f"{ADAPTER}/*")),
    )


def _data_commit(run: Run) -> str | None:
    from plmc.data.hub import commit

    return commit(run.task.hub_dataset) if run.source.name == "hub" and run.task.hub_dataset else None


def _prove(run: Run, judged, folder: Path):
    """Reloads the saved model as any user of transformers would and compares every weight. Returns it, in eval mode."""
    reloaded = models.load_finetuned(str(folder), run.task)
    saved, kept = reloaded.state_dict(), judged.state_dict()
    wrong = [name for name, value in kept.items() if name not in saved or not torch.equal(saved[name], value)]
    if wrong or len(saved) != len(kept):
        raise TrainingError(
            f"the saved model is not the one that was judged: {wrong[0] if wrong else 'other weights'} differs after "
            f"reloading {folder}. This is a fault of plmc or of a method, please report it with "
            f"{run.folder / 'config.yaml'}."
        )
    return reloaded


def _leave(run: Run, stages: Stages, model: Any) -> None:
    """Puts the part of the model that was trained into RUN/adapter, where the given student and it are all there is.

    What the methods of the last stage leave goes first (an adapter in the files of PEFT); else what the student's files
    do not have, where a stage trained only a part of it.
    """
    student, target = run.student, run.folder / ADAPTER
    shutil.rmtree(target, ignore_errors=True)
    if student.shape is not None or stages.fresh_tokenizer_differs:
        return
    if student.layers is None:
        with replacing(target) as draft:
            draft.mkdir()
            stages.last.leave(draft, student.name)
        if any(target.iterdir()) and makes(target, models.build(student, run.task, seed=run.seed), model):
            return
        shutil.rmtree(target)
    if not any(Chain(stage.methods).claims() for stage in run.stages):
        return
    part.write(target, model, student, models.with_weights)
    kept = model.state_dict()
    size, whole = (target / part.WEIGHTS).stat().st_size, sum(value.nbytes for value in kept.values())
    again = part.built(target, models.with_weights).state_dict()
    # Not of a language model with the pooler of its files, which the library builds none with.
    same = again.keys() == kept.keys() and all(torch.equal(again[name], value) for name, value in kept.items())
    if size > SMALL * whole or not same:
        shutil.rmtree(target)


def _prove_score(run: Run, stages: Stages, metrics: dict[str, float]) -> None:
    """The score of the saved model must be the one by which the last stage chose its weights."""
    chosen = stages.results[-1].metrics.get(run.task.metric)
    changed = any(type(m).finish is not Method.finish for m in run.stages[-1].methods.values())
    if (
        chosen is not None
        and not changed
        and run.task.metric in metrics
        and abs(chosen - metrics[run.task.metric]) > 1e-6
    ):
        name, saved = run.task.metric, metrics[run.task.metric]
        raise TrainingError(
            f"the saved model scores {name} = {saved:.6f}, but {chosen:.6f} was measured when its "
            f"weights were chosen. This is a fault of plmc or of a method, please report it."
        )


def _training(session: Session, stages: Stages) -> Training:
    seconds = sum(s.seconds for s in stages.results)
    samples = sum(s.samples for s in stages.results)
    return Training(
        processes=session.processes,
        seconds=round(seconds, 3),
        samples_per_second=round(samples / seconds, 2) if seconds else 0.0,
        peak_memory_bytes=figures.peak_memory_bytes(session.device.type),
        wall_seconds_of_last_start=round(time.time() - session.started, 3),
    )


def _latency(session: Session, model: Any) -> Latency:
    """Batch 1, real rows, one thread on the CPU, student and teacher in turn."""
    run, teacher, data = session.run, session.teacher, session.data
    count = run.settings.plain.latency_rows
    if not count or run.role == "teacher":
        return Latency()
    contenders = {"student": model}
    if teacher:
        contenders["teacher"] = models.load_finetuned(teacher.folder, run.task)
        reorder(contenders["teacher"], teacher.order)
    split = next(iter(data.evaluation.values()))
    device = "cuda" if run.settings.plain.device != "cpu" and torch.cuda.is_available() else "cpu"
    load = Load()
    times = figures.latency(contenders, figures.single_rows(split, count), rounds=3, device=device)
    model.to("cpu")
    quartiles = {name: [round(time.lower_ms, 4), round(time.upper_ms, 4)] for name, time in times.items()}
    return Latency(
        device=device,
        batch_1_ms=round(times["student"].median_ms, 4),
        teacher_batch_1_ms=round(times["teacher"].median_ms, 4) if teacher else None,
        threads=times["student"].threads,
        rows=min(count, len(split)),
        other_cores=load.stop()["other_cores"],
        student_quartiles_ms=quartiles["student"],
        teacher_quartiles_ms=quartiles.get("teacher"),
    )


def _write_lines(path: Path, records: list[dict[str, Any]]) -> None:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
