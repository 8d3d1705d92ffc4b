"""What masked-language-model stages need more than others: text, heads, a teacher, an artifact."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from plmc.config import pretraining
from plmc.config.resolve import Run
from plmc.console import Console
from plmc.core.rows import TaskData
from plmc.core.stage import Stage
from plmc.files import replacing
from plmc.measure import figures as measure
from plmc.models import load, masked_lm
from plmc.results.record import Size
from plmc.tasks import rows
from plmc.tasks.base import Task
from plmc.teachers import runs
from plmc.teachers.make import FinetunedTeacher, size_of, train_once
from plmc.training.evaluate import evaluate


def stage_data(run: Run, stage: Stage, task: Task, data: TaskData, tokenizer: Any) -> TaskData:
    """Rows of a masked-language-model stage: its corpus, or the run's own text with the stage's masking."""
    if not run.task.head.supervised:
        return data.with_train(task.encode(data.train.raw, tokenizer, training=True, cache=run.cache))
    raw = task.own_source.load(task)
    held_out = rows.subset(raw["validation"], run.budget.eval_rows)
    return TaskData(
        train=task.encode(raw["train"], tokenizer, training=True, cache=run.cache),
        evaluation={"validation": task.encode(held_out, tokenizer, training=False, cache=run.cache)},
        source=task.own_source.name,
    )


def change_head(model: Any, task: Task, *, seed: int) -> torch.nn.Module:
    """The same encoder with a fresh head for `task`, drawn under `seed`; a pooler that the model carries goes along."""
    target = load.from_config(copy.deepcopy(model.config), task, seed=seed)
    masked_lm.move_encoder(model, target)
    task.head.moved(model, target)
    return target.train()


def save_pretrained(run: Run, model: Any) -> None:
    """The language model before its head goes, as a folder that later runs name: student.name=RUN/pretrained."""
    with replacing(run.folder / "pretrained") as temporary:
        model.save_pretrained(temporary)
        load.load_tokenizer(run.student.name).save_pretrained(temporary)


def start(run: Run, teacher: FinetunedTeacher | None) -> torch.nn.Module:
    """The student before the first stage. Where it comes from the teacher's model, it starts from the prepared teacher.

    So do both models of Prune OFA, and so a student of some of the teacher's layers gets a trained head.
    """
    spec, first = run.student, run.recipe.stages[0]
    same = (
        spec.name == run.teacher.name
        and spec.shape is None
        and run.teacher.layers is None
        and run.teacher.shape is None
    )
    if first.mlm is not None and teacher is not None and same:
        spec = replace(spec, name=teacher.folder, revision=None)
    return load.build(spec, pretraining.stage_task(run, first), seed=run.seed)


def ensure(run: Run, data: TaskData, tokenizer: Any, console: Console, train: Callable[[Run], Any]) -> FinetunedTeacher:
    """The masked language model that teaches `run`, made now if it does not exist. `train(run)` trains a run."""
    spec = run.teacher
    if not run.task.head.supervised and spec.checkpoint:
        return _as_it_is(run, spec.checkpoint, data, tokenizer)
    headless = spec.shape is None and not masked_lm.has_head(load.load_config(spec.name))
    if not headless and spec.mlm.train == "auto" and spec.layers is None and spec.shape is None:
        return _as_it_is(run, spec.name, data, tokenizer)
    own = runs.language_model_run(run, headless=headless)
    what = "gets a language model head" if own.recipe.stages[-1].name == "head" else "is trained on as a language model"
    record = train_once(own, console, f"teacher [bold]{spec.name}[/] {what} (once; then reused)", train)
    return FinetunedTeacher(
        str(spec.name),
        str(own.folder / "model"),
        record.signature,
        record.metrics,
        size=size_of(record),
        pretrained=True,
    )


def _as_it_is(run: Run, name: str, data: TaskData, tokenizer: Any) -> FinetunedTeacher:
    from plmc.tasks.mlm import MaskedLM

    folder, size = load.locate(name), Size()
    metrics: dict[str, float] = {}
    model = load.load_finetuned(name, MaskedLM())
    if not run.task.head.supervised:
        metrics, _ = evaluate(model, next(iter(data.evaluation.values())), run.task, pad_id=tokenizer.pad_token_id)
    if Path(folder).is_dir():
        size = Size(**measure.figures(model, Path(folder)))
    return FinetunedTeacher(name, folder, name, metrics, size=size, pretrained=True)
