"""One run from start to result: rows, teacher, stages, the saved model, what it is worth."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from filelock import FileLock, Timeout

from plmc import digests
from plmc.config.resolve import Run
from plmc.console import Console
from plmc.core.stage import PRETRAINED, TEACHER
from plmc.errors import ConfigError, DamagedFile
from plmc.files import remove_drafts, write_json, write_text
from plmc.measure import software
from plmc.models import load
from plmc.results.record import FILE, FINISHED, Record, Tracked, of_folder
from plmc.run import check, hand_over, overlap, pages
from plmc.run.finish import finish
from plmc.run.session import Session
from plmc.run.stages import Stages
from plmc.tasks import rows
from plmc.teachers import make
from plmc.training import memory
from plmc.world import here


def finished(run: Run) -> Record | None:
    """The record of this very run, if it is finished."""
    if run.settings.plain.force:
        return None
    try:
        record = of_folder(run.folder)
    except (FileNotFoundError, NotADirectoryError):  # output_dir may be a file, which `check` refuses
        return None
    except DamagedFile:  # `execute` says so, and makes it again
        return None
    return record if record.status == FINISHED else None


def execute(run: Run, console: Console, *, parent: Path | None = None, threads: int | None = None) -> Record:
    """Trains `run` unless it is finished, from where it was cut off, and returns its record.

    All processes of a run call it; the first one alone reads what was done before, and writes.
    """
    world = here()
    if record := world.once(lambda: finished(run)):
        if not run.settings.plain.quantize:
            return record
        return world.once(lambda: _with_exports(run, record, console))
    check.check(run)
    lock = FileLock(run.folder / ".lock")
    world.once(lambda: _take(lock, run.folder))
    try:
        return _execute(run, console, parent, threads)
    finally:
        lock.release()


def _take(lock: FileLock, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(
            f"{folder} is being trained by another process. Wait for it, or give another output_dir."
        ) from None


def _clear(run: Run, console: Console) -> None:
    """Removes what a run that is forced to begin again left, and what killed processes left half-written."""
    if run.settings.plain.force:
        for name in ("stages", FILE, "tracking"):
            path = run.folder / name
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    _look(run, console)
    caches = (run.cache, *run.cache.glob("*/"))
    for folder in (run.folder, *run.folder.glob("*/"), *run.folder.glob("stages/*/"), *caches):
        remove_drafts(folder)


def _execute(run: Run, console: Console, parent: Path | None, threads: int | None) -> Record:
    started, world = time.time(), here()
    world.once(lambda: _clear(run, console))
    software.own_bars_only()
    memory.keep()
    software.set_threads(run.settings.plain.threads or threads, world.neighbours)
    device = software.device_of(run.settings.plain.device)
    world.once(lambda: _describe(run))
    tracker = make_tracker(run, parent)
    tracker.start(pages.params(run))
    # A teacher's MLflow run is a child of the sweep's or, trained for one run, of that run's.
    above = parent or run.folder

    def train(own: Run) -> Record:
        # With a separate console: the teacher's warnings go into the teacher's result.
        return execute(own, Console(), parent=above, threads=threads)

    try:
        tokenizer = load.load_tokenizer(run.student.name)
        check.vocabularies(run, tokenizer)
        data = world.ahead(lambda: rows.load(run, tokenizer))
        session = Session(run, console, tracker, device, tokenizer, data, started, processes=world.size)
        overlap.guard(run, session.data, console)
        _log_inputs(run, session.data, tracker)
        world.ahead(lambda: _fetch(run))
        _find_trained(session, train)
        stages = Stages(session)
        stages.go()
        record = world.once(lambda: finish(session, stages))
    except BaseException as error:
        # An interrupted run is taken up again by the same command, so its MLflow run only pauses.
        tracker.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    tracker.finish("FINISHED")
    record.mlflow = Tracked(
        tracking_uri=tracker.uri,
        experiment_id=tracker.experiment_id,
        run_id=tracker.run_id,
        warnings=list(tracker.warnings),
    )
    # Not measured: a run that is taken up may have been given other threads.
    record.files["config.yaml"] = digests.of_file(run.folder / "config.yaml")
    # The sign that all is there comes last: a run killed before it is taken up again and ends its MLflow run, too.
    world.once(lambda: record.write(run.folder / FILE))
    if run.settings.plain.quantize:
        from plmc.export.recipe import refuse

        refuse(run, record)
    return record


def _find_trained(session: Session, train: make.Train) -> None:
    """Finds the teachers and shared stages that the run's stages refer to, and makes those that are not there."""
    run, console = session.run, session.console
    shared = {stage.name: stage for stage in run.recipe.stages if stage.shared}
    for stage in run.stages:
        task = run.task_of(stage)
        names = [
            *(stage.teachers if stage.learns else ()),
            *([stage.student] if isinstance(stage.student, str) else ()),
        ]
        for name in names:
            which = make.key(run, name, task)
            if which in session.trained:
                continue
            if name in shared:
                session.trained[which] = make.shared(run, shared[name], console, train)
            elif name in run.named_teachers() and name != PRETRAINED:
                session.trained[which] = make.ensure(
                    run, task, session.data, console, train, name=name, tokenizer=session.tokenizer
                )
    session.teacher = session.trained.get(make.key(run, run.taught_by or TEACHER, run.task)) or make.find(run)


def _fetch(run: Run) -> None:
    """Weights and texts of the Hub that some stage will read, before the first update of any."""
    from plmc.tasks.feeds import ready

    if not run.student.shape:
        load.with_weights(run.student.name)
    specs = run.named_teachers()
    wanted = {name for stage in run.stages if stage.learns for name in stage.teachers if name in specs}
    wanted |= {stage.student for stage in run.stages if stage.student == TEACHER}
    for spec in {name: specs[name] for name in sorted(wanted)}.values():
        if spec.known and not spec.shape:
            load.with_weights(spec.checkpoint or spec.name)
    for stage in run.stages:
        ready(run, stage)


def _look(run: Run, console: Console) -> None:
    """Says that the record is damaged. What the run left is measured or trained again, as far as it must be."""
    try:
        of_folder(run.folder)
    except FileNotFoundError:
        return
    except DamagedFile as error:
        console.warn(f"{error} It is made again from what the run left.")


def _with_exports(run: Run, record: Record, console: Console) -> Record:
    """A finished run of which exports are asked for: those that it lacks are made now."""
    from plmc.export import recipe

    if recipe.missing(run, record):
        data = rows.load(run, load.load_tokenizer(str(run.folder / "model")))
        record.exports |= recipe.exports(run, data, console)
        hand_over.describe_model(run, record)
        record.write(run.folder / FILE)
    recipe.refuse(run, record)
    return record


def make_tracker(run: Run, parent: Path | None):
    """The tracker that the config asks for, of the process that writes."""
    from plmc.track import LocalHistory, Silence, Tracker, default_uri

    tracking = run.settings.tracking
    if not here().first:
        return Silence(run.folder)
    if not tracking.enabled:
        return LocalHistory(run.folder)
    return Tracker(
        run.folder,
        uri=tracking.uri or default_uri(run.output_dir),
        experiment=tracking.experiment,
        run_name=f"{run.label} {run.task.name} seed {run.seed}",
        parent=parent,
        tags=pages.tags(run),
        system_interval=10.0 if tracking.system_metrics else 0.0,
    )


def _describe(run: Run) -> None:
    """What is needed to understand and to repeat the run, written before it starts."""
    import yaml

    write_text(run.folder / "config.yaml", yaml.safe_dump(dict(run.config), sort_keys=False, allow_unicode=True))
    about = {"command": run.command, "git": software.git_state(), "versions": software.versions()}
    write_json(run.folder / "about.json", about)


def _log_inputs(run: Run, data, tracker) -> None:
    for context, split in (("train", data.train), *data.evaluation.items()):
        if split is not None:
            tracker.input(
                name=f"{run.task.name}/{context}",
                source=_place(run, context),
                rows=len(split.raw),
                digest=split.fingerprint,
                context="train" if context == "train" else "evaluation",
                origin="local" if run.source.name == "custom" else run.source.name,
            )


def _place(run: Run, split: str) -> str:
    """Where a split's rows come from: a file, a Hub name, a folder, or the name of what makes them up."""
    if place := run.task.place(split):
        return place
    if run.source.name == "hub" and (path := run.task.hub_dataset):
        from plmc.data.hub import commit

        return f"{path}@{commit(path)}" if commit(path) else path
    return run.source.place or run.source.name
