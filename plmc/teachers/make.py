"""Models that stages learn from: checkpoints of the user's, or trained once by a run of their own and shared."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from plmc import digests
from plmc.config.identity import hashed
from plmc.config.paths import folder_digest
from plmc.config.resolve import Run
from plmc.console import Console
from plmc.core.rows import Split, TaskData
from plmc.core.stage import TEACHER, Stage
from plmc.errors import ConfigError, DamagedFile
from plmc.measure import figures as measure
from plmc.models import load, masked_lm
from plmc.results.record import Record, Size, of_folder
from plmc.tasks.alike import learnt_nothing
from plmc.tasks.base import Task
from plmc.teachers.runs import shared_run, teacher_run
from plmc.teachers.spec import TeacherSpec
from plmc.training.evaluate import evaluate, logits_of
from plmc.world import here


@dataclass(frozen=True)
class Trained:
    """A model that stages learn from or begin as.

    Attributes:
        name: of what it was made of.
        folder: where it lies.
        identity: keys what is stored of its outputs.
        metrics: its scores; empty where nobody measured them on the run's rows.
        task: what it learnt.
        order: for each label of the task its column; None: they are in order.
        size: of its weights.
        collapsed: it gives every evaluation row the same answer.
    """

    name: str
    folder: str
    identity: str
    metrics: dict[str, float]
    task: Task
    order: tuple[int, ...] | None = None
    size: Size = field(default_factory=Size)
    collapsed: bool = False

    def learnt_nothing(self, metric: str) -> bool:
        """Whether there is nothing to distil: one answer for all rows, or a score of 0 or less where that is
        guessing."""
        return self.collapsed or self.metrics.get(metric, 1.0) <= 0

    @property
    def digest(self) -> str | None:
        """Of its weights, config and vocabulary; None for a model on the Hub."""
        return folder_digest(self.folder) if Path(self.folder).is_dir() else None


def key(run: Run, name: str, task: Task) -> str:
    """Of the model that a stage on `task` calls `name`: a stage has one model, a teacher one for each task."""
    if name in {stage.name for stage in run.recipe.stages}:
        return name
    return f"{name}@{hashed(task.plain() if task != run.task else task)}"


def find(run: Run) -> Trained | None:
    """The run's teacher if it exists already and is not damaged; trains nothing."""
    if not run.teacher.known or run.teacher.checkpoint or run.role == "teacher" or not run.task.head.supervised:
        return None
    own = teacher_run(run, run.task)
    record, _ = whole(own)
    return _stored(str(run.teacher.name), own, record) if record else None


def _stored(name: str, own: Run, record: Record) -> Trained:
    folder = str(own.folder / "model")
    # By content: outputs stored of other weights of the same name are not its outputs.
    identity = f"{record.signature}-{folder_digest(folder)}"
    return Trained(
        name, folder, identity, record.metrics, own.task, size=size_of(record), collapsed=bool(record.collapsed)
    )


def size_of(record: Record) -> Size:
    """The size of the model that a run made."""
    return Size(**{name: getattr(record.student, name) for name in Size.model_fields})


Train = Callable[[Run], Record]
"""Trains a run and returns its record."""


def shared(run: Run, stage: Stage, console: Console, train: Train) -> Trained:
    """The model of a shared stage of `run`, trained now if it does not exist."""
    own = shared_run(run, stage)
    text = f"shared stage [bold]{stage.name}[/] is trained on {own.task.name} (once; then reused)"
    return _stored(str(own.student.name), own, train_once(own, console, text, train))


def ensure(
    run: Run, task: Task, data: TaskData, console: Console, train: Train, *, name: str = TEACHER, tokenizer: Any = None
) -> Trained:
    """A teacher of `run` trained on `task`, now if it does not exist.

    A lock makes a second job that needs the same teacher wait for the first instead of training it again.

    Args:
        data: the rows of the run's task.
        name: `teacher`, or an entry of the config's `teachers`.
        tokenizer: the student's.
    """
    spec = run.named_teachers()[name]
    own_task = task == run.task
    if spec.checkpoint and own_task:
        if not task.head.supervised:
            return _as_it_is(task, spec.checkpoint, data, tokenizer)
        teacher = _checkpoint(run, spec, data, console)
        cure = "Name another checkpoint."
    elif not task.head.supervised and _comes_trained(spec):
        return _as_it_is(task, spec.name, data if own_task else None, tokenizer)
    else:
        own = teacher_run(run, task, name)
        text = f"teacher [bold]{spec.name}[/] is fine-tuned on {task.name} (once; then reused)"
        if own.recipe.stages[-1].name == "head":
            text = f"teacher [bold]{spec.name}[/] gets a language model head (once; then reused)"
        teacher = _stored(str(spec.name), own, train_once(own, console, text, train))
        lower = f"{name if name == TEACHER else f'teachers.{name}'}.lr={spec.lr / 3:.0e}"
        cure = f"Train it at a lower rate ({lower}), longer (teacher.epochs=…), or with another teacher.seed."
    if teacher.learnt_nothing(task.metric):
        why = "it gives every row the same answer" if teacher.collapsed else "it is no better than guessing"
        console.warn(
            f"the teacher {teacher.name} has learnt nothing: {why} ({task.metric} "
            f"{teacher.metrics[task.metric]:.4f}), so there is nothing to distil. {cure}"
        )
    return teacher


def _comes_trained(spec: TeacherSpec) -> bool:
    """Whether the files of a model hold a head for running text, and all of it is taken."""
    return spec.layers is None and spec.shape is None and masked_lm.has_head(load.load_config(spec.name))


def _as_it_is(task: Task, name: str, data: TaskData | None, tokenizer: Any) -> Trained:
    """A model for running text as its files have it; judged on `data`."""
    folder, size = load.locate(name), Size()
    metrics: dict[str, float] = {}
    model = load.load_finetuned(name, task)
    if data is not None:
        metrics, _ = evaluate(model, next(iter(data.evaluation.values())), task, pad_id=tokenizer.pad_token_id)
    if Path(folder).is_dir():
        size = Size(**measure.figures(model, Path(folder)))
    return Trained(name, folder, name, metrics, task, size=size)


def train_once(own: Run, console: Console, text: str, train: Train) -> Record:
    """The record of the shared run `own`, trained now (`text` says so) if it is not there or damaged."""
    world = here()
    record, _ = world.once(lambda: whole(own))
    if record is None:
        lock = FileLock(own.folder.parent / f"{own.signature}.lock")
        try:
            record = world.once(lambda: _locked(own, lock, console))
            if record is None:
                console.say(text)
                record = train(own)
        finally:
            lock.release()
    return record


def _locked(own: Run, lock: FileLock, console: Console) -> Record | None:
    """The record of a shared run once nobody else trains it; sets a damaged one aside."""
    own.folder.parent.mkdir(parents=True, exist_ok=True)
    if not _try(lock):
        console.say(f"waiting for teacher {own.signature}, which another job is training")
        lock.acquire()
    record, wrong = whole(own)
    if wrong:
        aside = _aside(own.folder)
        console.warn(f"{wrong} The teacher is trained again; what is left of the old one is in {aside}.")
    return record


def whole(own: Run) -> tuple[Record | None, str | None]:
    """The record of a teacher whose files are what was written, or None and what is wrong with them, if there are
    any."""
    try:
        record = of_folder(own.folder)
        wrong = digests.fault(own.folder / "model")
    except FileNotFoundError:
        return None, None
    except DamagedFile as error:
        return None, str(error)
    if wrong is None and not (own.folder / "model" / "config.json").is_file():
        wrong = f"{own.folder / 'model'} is missing."
    return (None, wrong) if wrong else (record, None)


def _aside(folder: Path) -> Path:
    """Moves a damaged teacher to `OUTPUTS/damaged`, where nothing looks for runs."""
    home = folder.parents[1] / "damaged"
    home.mkdir(exist_ok=True)
    number = sum(1 for _ in home.glob(f"{folder.name}*"))
    target = home / (f"{folder.name}-{number}" if number else folder.name)
    os.replace(folder, target)
    return target


def _try(lock: FileLock) -> bool:
    from filelock import Timeout

    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True


def _checkpoint(run: Run, spec: TeacherSpec, data: TaskData, console: Console) -> Trained:
    import hashlib

    name = str(spec.checkpoint)
    model = load.load_finetuned(name, run.task)
    tokenizer = load.load_tokenizer(name)
    first = next(iter(data.evaluation.values()))
    split = run.task.encode(first.raw, tokenizer, training=False, cache=run.cache)
    order = label_order(
        run.task,
        model,
        split,
        given=spec.label_order,
        pad_id=tokenizer.pad_token_id,
        who="teacher.checkpoint",
        warn=console.warn,
    )
    reorder(model, order)
    metrics, records = evaluate(model, split, run.task, pad_id=tokenizer.pad_token_id)
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        digest.update(key.encode() + value.numpy().tobytes())
    size = Size(**measure.figures(model, Path(load.locate(name))))
    collapsed = learnt_nothing(records)
    identity = digest.hexdigest()[:16]
    return Trained(name, load.locate(name), identity, metrics, run.task, order, size, collapsed=collapsed)


def reorder(model, order: tuple[int, ...] | None) -> None:
    """Puts the rows of the classification head into the task's label order, in place."""
    import torch

    if order is None or list(order) == list(range(len(order))):
        return
    head = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m.out_features == len(order)][-1]
    with torch.no_grad():
        index = torch.tensor(order)
        head.weight.copy_(head.weight[index].clone())
        if head.bias is not None:
            head.bias.copy_(head.bias[index].clone())


def label_order(
    task: Task, model, split: Split, *, given: Sequence[int] | None, pad_id: int, who: str, warn: Callable[[str], None]
) -> tuple[int, ...] | None:
    """For each of the task's labels the model's column: `given`, or by name where it has names, else tested on rows.

    `who` names the model in messages. Raises ConfigError if another order fits the rows far better than the model's
    own.
    """
    if not task.head.has_classes:
        return None
    if given is not None:
        if sorted(given) != list(range(task.outputs)):
            raise ConfigError(f"teacher.label_order={list(given)} must hold 0 to {task.outputs - 1} once each.")
        return tuple(given)
    names = [_plain(model.config.id2label[i]) for i in range(task.outputs)]
    wanted = [_plain(label) for label in task.labels]
    if sorted(names) == sorted(wanted):
        order = tuple(names.index(label) for label in wanted)
        if list(order) != list(range(task.outputs)):
            warn(f"{who}: its classes are {names}, the task's {wanted}: its logits are reordered by name.")
        return order
    if not all(re.fullmatch(r"label_\d+", name) for name in names):
        pairs = ", ".join(f"{own} as {label}" for own, label in zip(names, wanted, strict=True))
        warn(
            f"{who}: its classes are not the task's. They are taken in their order: {pairs}. If that is wrong: "
            f"teacher.label_order=[…]"
        )
    if task.outputs > 6:
        return None
    logits = logits_of(model, split, task.head, pad_id=pad_id)[0]
    answers, labels = logits.argmax(1), split.gold
    known = labels >= 0
    scores = {
        order: float(np.mean(np.argsort(order)[answers[known]] == labels[known]))
        for order in itertools.permutations(range(task.outputs))
    }
    own = scores[tuple(range(task.outputs))]
    best = max(scores, key=scores.get)
    if scores[best] > own + 0.1:
        raise ConfigError(
            f"{who}: its classes seem to be in another order than the task's ({', '.join(task.labels)}): "
            f"accuracy {own:.1%} as they are, {scores[best]:.1%} as {list(best)}. If so: "
            f"teacher.label_order=[{','.join(map(str, best))}]"
        )
    return None


def _plain(label: str) -> str:
    return str(label).lower().replace("-", "_").replace(" ", "_")
