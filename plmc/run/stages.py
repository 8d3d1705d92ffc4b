"""A run's own stages one after the other: build, train or take up again, hand the model on."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from plmc import digests
from plmc.config.paths import folder_digest
from plmc.console import StageBar
from plmc.core import graph
from plmc.core.chain import Chain
from plmc.core.rows import Split, TaskData
from plmc.core.setting import Building
from plmc.core.stage import PREVIOUS, Stage
from plmc.errors import ConfigError, DamagedCheckpoint, DamagedFile, DataError
from plmc.files import replacing, write_record
from plmc.models import encoder, load
from plmc.models.transfer import change_head, same_head
from plmc.results.record import StageResult
from plmc.run.session import Session
from plmc.tasks import feeds, rows
from plmc.tasks.base import Task
from plmc.teachers.make import Trained, key
from plmc.teachers.origin import made_of, origin
from plmc.teachers.source import AUTOCAST, TeacherSource
from plmc.training import checkpoint
from plmc.training.evaluate import judgement
from plmc.training.objective import Objective
from plmc.training.order import Mix
from plmc.training.plan import Judge, Plan, Saving
from plmc.training.progress import Outcome, Progress
from plmc.training.trainer import Trainer
from plmc.world import here


class Stages:
    """Runs all stages of a run; `model` is what they make, `results` has a `StageResult` for each that is done."""

    def __init__(self, session: Session):
        self.session, self.run, self.console, self.world = session, session.run, session.console, here()
        self.model: Any = None
        self.results: list[StageResult] = []
        self.step = 0
        self.teachers = TeacherSource(self.run, device=session.device, console=session.console, trained=session.trained)
        self.task: Task = self.run.task
        self._carried: dict[str, Any] = {}
        self._readers: list[Chain] = []
        self.last = Chain({})

    def go(self) -> None:
        """Every stage; finished ones are read from disk."""
        for index, stage in enumerate(self.run.stages):
            self._stage(index, stage)

    def _stage(self, index: int, stage: Stage) -> None:
        run = self.run
        folder = run.folder / "stages" / f"{index}-{stage.name}"
        chain = Chain(stage.methods)
        self._begin(index, stage)
        done = self.world.ahead(lambda: self._finished(folder))
        data, own = self.world.ahead(lambda: self._rows(stage))
        setting = self.building(stage, data)
        if done is None:
            # Derived rows draw from generators of their own, so skipping them for a finished stage changes nothing.
            made, given = data, setting
            data = self.world.ahead(lambda: chain.data(made, given))
        clock = stage.clock(len(data.train), self._cap(stage, own))
        setting = replace(setting, data=data, clock=clock)
        # One seed per stage, after its rows: what a stage draws depends neither on how much its predecessors drew nor
        # on whether rows were derived now, with a model whose loading draws, or found in the cache.
        torch.manual_seed(run.seed * 1000 + index)
        if done is None:
            chain.check(setting)
        self.model = chain.prepare(self.model, setting)
        setting = replace(setting, student=encoder.dims(self.model))
        for name, state in self._carried.items():
            if name in chain:
                chain[name].load_state_dict(state)
        if done is not None:
            self._take_up(chain, folder, setting, *done)
        else:
            self._train(index, stage, chain, folder, setting, own.with_train(data.train), clock)
        self._carried = {name: chain[name].state_dict() for name in stage.carry}
        self.last = chain
        self._reread(chain)
        self._keep(stage)

    def _rows(self, stage: Stage) -> tuple[TaskData, TaskData]:
        """The rows that a stage trains on, and those of its task, which its budget counts.

        Raises DataError for a task without training rows.
        """
        own = rows.of_stage(self.run, stage, self.session.tokenizer, self.session.data)
        if stage.feeds:
            return own.with_train(feeds.rows(self.run, stage, self.session.tokenizer, own)), own
        if own.train is None:
            raise DataError(
                f"task {self.task.name} has no training rows in this source. Use data=hub, or another task."
            )
        return own, own

    def _again(self, stage: Stage, data: TaskData, tokenizer: Any) -> Split:
        """The stage's rows `data` as another tokenizer makes them."""
        if stage.feeds:
            return feeds.rows(self.run, stage, tokenizer, rows.of_stage(self.run, stage, tokenizer, self.session.data))
        return self.task.encode(data.training.raw, tokenizer, training=True, cache=self.run.cache)

    def _reread(self, chain: Chain) -> None:
        """Tokenises the rows again if the stage left the student with another tokenizer."""
        tokenizer, own = chain.tokenizer(self.session.tokenizer), self.run.task
        if tokenizer is self.session.tokenizer:
            return
        self._readers.append(chain)
        self.session.tokenizer = tokenizer
        again = lambda split, training: own.encode(split.raw, tokenizer, training=training, cache=self.run.cache)  # noqa: E731
        train = None if self.session.data.train is None else again(self.session.data.train, True)
        evaluation = {name: again(split, False) for name, split in self.session.data.evaluation.items()}
        self.session.data = replace(self.session.data, train=train, evaluation=evaluation)

    @property
    def fresh_tokenizer_differs(self) -> bool:
        """Whether some stage left the student with another tokenizer."""
        return bool(self._readers)

    def fresh_tokenizer(self):
        """The tokenizer of the student as the stages left it, never called: it remembers how it was called last."""
        fresh = load.load_tokenizer(self.run.student.name)
        return reduce(lambda tokenizer, chain: chain.tokenizer(tokenizer), self._readers, fresh)

    def _begin(self, index: int, stage: Stage) -> None:
        """Puts the model that a stage starts from into `model`, with the head of the stage's task."""
        before, self.task = self.task, self.run.task_of(stage)
        if stage.student != PREVIOUS and self._readers:
            raise ConfigError(
                f"stage {stage.name} starts from {stage.student}, whose vocabulary an earlier stage has trimmed. Move "
                "the method that trims to the last stage."
            )
        if index == 0 or stage.student != PREVIOUS:
            self.model, before = self._student(stage)
            self._carried = {}
        if not same_head(before, self.task):
            self.model = change_head(self.model, self.task, seed=self.run.seed)
            self._carried = {}

    def _student(self, stage: Stage) -> tuple[Any, Task]:
        """A stage's own beginning, and the task that its head answers."""
        run, source = self.run, origin(self.run, stage, self.session.trained)
        if source is None:
            return load.build(run.student, self.task, seed=run.seed), self.task
        trained = self.session.trained[key(run, source, self.task)]
        spec = made_of(run, source, trained)
        if spec is None:
            self.console.say(f"stage {stage.name} starts from {run.student.name}, which {source} is not made of")
            return load.build(run.student, self.task, seed=run.seed), self.task
        return load.build(spec, trained.task, seed=run.seed), trained.task

    def _keep(self, stage: Stage) -> None:
        """Saves the model as the stage left it, where a later stage or the recipe asks for it."""
        run = self.run
        asked = stage.keep or any(stage.name in graph.named(later) for later in run.stages)
        if not asked:
            return
        folder = run.folder / "models" / stage.name
        self.world.once(lambda: self._save(folder))
        identity = f"{run.signature}-{stage.name}-{folder_digest(str(folder))}"
        self.session.trained[stage.name] = Trained(stage.name, str(folder), identity, {}, self.task)

    def _save(self, folder: Path) -> None:
        if not folder.is_dir():
            with replacing(folder) as draft:
                self.model.save_pretrained(draft)
                self.fresh_tokenizer().save_pretrained(draft)

    def building(self, stage: Stage, data: TaskData) -> Building:
        """The facts around a stage's methods; its clock is known once methods have had their say on the rows."""
        run, model, task, tokenizer = self.run, self.model, self.task, self.session.tokenizer
        teacher = self.teachers.model(stage, stage.teachers[0]) if stage.learns and stage.teachers else None
        return Building(
            stage=stage.name,
            head=task.head,
            seed=run.seed,
            student=encoder.dims(model),
            teacher=encoder.dims(teacher) if teacher is not None else None,
            methods=stage.methods,
            text_columns=task.text,
            teachers=stage.teachers,
            mlm_source=load.locate(run.teacher.name) if run.teacher.name else None,
            data=data,
            tokenizer=tokenizer,
            encode=lambda rows, training: task.encode(rows, tokenizer, training=training, cache=run.cache),
            teacher_model=teacher,
            cache=run.cache,
            progress=self.console.each,
        )

    def _cap(self, stage: Stage, data: TaskData) -> int | None:
        """The most updates the budget allows a stage: the stricter of passes over the original rows and plain
        updates."""
        budget, caps = self.run.budget, []
        if budget.epochs is not None and data.train is not None:
            caps.append(replace(stage, epochs=budget.epochs, steps=None).clock(len(data.train)).total)
        if budget.steps is not None:
            caps.append(budget.steps)
        return min(caps, default=None)

    def _train(
        self, index: int, stage: Stage, chain: Chain, folder: Path, setting: Building, data: TaskData, clock
    ) -> None:
        run, task, needs, train = self.run, self.task, chain.required(), data.train
        device, warned = self.session.device, len(self.console.warnings)
        before = self.model.config._attn_implementation
        if "scores" in needs:
            from plmc.models.attention import use_scores

            use_scores(self.model)
        self.model.to(device)
        modules = chain.modules(setting).to(device)
        objective = Objective(
            self.model,
            chain,
            modules,
            head=task.head,
            autocast=AUTOCAST[run.precision],
            teachers=self.teachers.outputs(
                stage,
                chain,
                setting,
                self.session.tokenizer,
                lambda tokenizer: self._again(stage, setting.data, tokenizer),
            ),
        )
        if run.settings.plain.compile:
            for block in encoder.layers(self.model):
                block.compile(dynamic=True)
        first = next(iter(data.evaluation.values()))
        pad_id = self.session.tokenizer.pad_token_id
        judge = Judge(lambda model: judgement(model, first, task, pad_id=pad_id), task.metric)
        rate = f"{clock.total} updates of {stage.batch_size} rows"
        self.console.say(f"stage [bold]{stage.name}[/]  {rate}  loss = {formula(chain)}")
        with StageBar(self.console, stage.name, clock.total) as bar:
            trainer = Trainer(
                objective,
                train,
                Plan(stage, clock, index, run.seed, self.step, run.precision, _mix(stage, train)),
                Saving(folder, run.signature, run.settings.checkpoint.seconds, run.settings.checkpoint.steps),
                judge=judge,
                device=device,
                pad_id=pad_id,
                progress=Progress(
                    self.session.tracker.log, bar.advance, self.console.warn, run.settings.plain.log_every
                ),
            )
            if chain.claims():
                trained, whole = (
                    sum(p.numel() for p in params) for params in (trainer.params, self.model.parameters())
                )
                self.console.say(f"trains {trained:,} of {whole:,} parameters")
            outcome: Outcome = trainer.fit()
        self.model.set_attn_implementation(before)
        if run.settings.plain.compile:
            for block in encoder.layers(self.model):
                block._compiled_call_impl = None
        result = StageResult(name=stage.name, **vars(outcome), warnings=self.console.warnings[warned:])
        self.model = chain.finish(self.model.to("cpu"), setting)
        self.world.once(lambda: self._write(chain, folder, result))
        self._close(folder, result)

    def _write(self, chain: Chain, folder: Path, result: StageResult) -> None:
        """What a stage ended with."""
        state = {"model": self.model.state_dict(), "methods": chain.state_dict()}
        checkpoint.save(folder / "done.pt", state, signature=self.run.signature)
        write_record(folder / "done.json", result.model_dump())

    def _finished(self, folder: Path) -> tuple[StageResult, dict[str, Any]] | None:
        """Result and state of a stage that was finished before; None for one to train, also where its files are
        damaged."""
        path = folder / "done.json"
        if not path.is_file():
            return None
        try:
            return StageResult.model_validate(digests.read(path)), checkpoint.load(
                folder / "done.pt", signature=self.run.signature
            )
        except (DamagedFile, DamagedCheckpoint, ValidationError) as error:
            self.console.warn(f"{error} The stage is trained again.")
            for name in ("done.json", "done.pt"):
                checkpoint.set_aside(folder / name)
            return None

    def _take_up(
        self, chain: Chain, folder: Path, setting: Building, result: StageResult, state: dict[str, Any]
    ) -> None:
        """A stage that was finished before: the same structure, then its weights."""
        chain.modules(setting)
        chain.load_state_dict(state["methods"])
        self.model = chain.finish(self.model.to("cpu"), setting)
        self.model.load_state_dict(state["model"])
        self.console.say(f"stage [bold]{result.name}[/]  finished before ({result.steps} updates)")
        for text in result.warnings:
            self.console.warn(text)
        self._close(folder, result)

    def _close(self, folder: Path, result: StageResult) -> None:
        # Also after a crash between the stage's end and this very line.
        if self.world.first:
            for name in ("checkpoint.pt", "best.pt", "checkpoint.pt.damaged"):
                (folder / name).unlink(missing_ok=True)
        self.results.append(result)
        self.step += result.steps


def _mix(stage: Stage, train: Split) -> Mix | None:
    """How the feeds of a stage share its updates. Raises ConfigError if its rows no longer tell the feeds apart."""
    shares = tuple(feed.share for feed in stage.feeds.values())
    if len(shares) < 2 or (stage.mix == "shuffled" and None in shares):
        return None
    if train.feed is None:
        raise ConfigError(
            f"stage {stage.name}: a method makes its rows anew, and they no longer tell which feed they are of. Set "
            f"mix=shuffled and no shares, or remove the method."
        )
    return Mix(stage.mix, train.feed, None if None in shares else shares)


def formula(chain: Chain) -> str:
    """The loss as a formula: weights and names of all terms."""
    return " + ".join(f"{weight:g}·{name}" for name, weight in chain.terms().items()) or "0"
