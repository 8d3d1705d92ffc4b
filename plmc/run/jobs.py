"""What Hydra calls: one job of a run or of a sweep."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmc.config.compose import compose, for_jobs, plain, single_runs, split_words
from plmc.config.folders import conf_dir, search_path
from plmc.config.typed import reach
from plmc.errors import ConfigError, PlmcError, TrainingError, short_of_memory
from plmc.names import did_you_mean
from plmc.world import Elsewhere, here, part, started, together

if TYPE_CHECKING:
    from plmc.config.resolve import Run
    from plmc.console import Console

DEBUG = "PLMC_DEBUG"
LAST = 2.0
"""Seconds that a process waits before it ends with an error: launchers end the others at once, and the first one has to
say what is wrong."""


def precheck(words: Sequence[str]) -> None:
    """Resolves every run that the words describe, so that a typo in the last job of a sweep is found before the
    first."""
    from plmc.config.resolve import resolve
    from plmc.run.processes import wanted

    for single in single_runs(words):
        if wanted(resolve(plain(compose(single)))) > 1:
            raise ConfigError(
                "a sweep with processes= would start processes in processes. Run its jobs one by one without -m, or at "
                "once with a launcher (docs/scale.md)."
            )


def launch(words: Sequence[str], command: str) -> int:
    """Trains the one run that the words describe, or hands them to Hydra (sweeps, launchers, `--cfg job`).

    Returns:
        The exit code.
    """
    overrides, flags = split_flags(words)
    names = {flag.split("=", 1)[0] for flag in flags if flag.startswith("-")}
    if started() > 1 and _MULTIRUN & names:
        raise ConfigError(
            "a sweep starts its jobs itself, and this is one of several processes of a launcher (torchrun, "
            "accelerate). Give the command without -m, or without the launcher."
        )
    if not flags:
        several = single_runs(overrides)
        if len(several) > 1:
            raise ConfigError(
                f"several values make a sweep, which needs -m:\n  {command.replace(' train', ' train -m', 1)}"
            )
        _one(overrides, command)
        return 0
    return _with_hydra(overrides, flags, command, sweeping=bool(_MULTIRUN & names), prints=bool(names - _MULTIRUN))


def _with_hydra(overrides: list[str], flags: list[str], command: str, *, sweeping: bool, prints: bool) -> int:
    import hydra

    from plmc.run import sweep

    if not prints:
        precheck(overrides)
    elif not sweeping:
        # Hydra will only print, but its own words about a wrong name help nobody.
        compose(overrides)
    sweep.begin(command)
    # Hydra's parser takes overrides in one piece only, and from nowhere but the process's arguments.
    own, folder = split_words(for_jobs(overrides) if sweeping else overrides)
    own = own if sweeping else reach(own)
    sys.argv = ["plmc train", *flags, *search_path(folder), *own]
    if sweeping:
        os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra hands errors on in place of printing them
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir().resolve()), config_name="train")(job)()
    except Exception as error:
        if not sweep.cut_off(error):
            raise
    return sweep.exit_code()


_MULTIRUN = {"-m", "--multirun"}
_WITH_VALUE = {"--cfg", "-c", "--package", "-p", "--info", "-i"}
_FLAGS = _MULTIRUN | _WITH_VALUE | {"--resolve", "--hydra-help", "--run", "-r"}


def split_flags(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Overrides (with `--config-dir`), and Hydra's flags with their values. Raises ConfigError for any other flag."""
    overrides, flags, words = [], [], list(words)
    while words:
        word = words.pop(0)
        name = word.split("=", 1)[0]
        if name in ("--config-dir", "-cd"):
            overrides += [word] if "=" in word else [word, *words[:1]]
            words = words if "=" in word else words[1:]
        elif name in _FLAGS:
            flags.append(word)
            if name in _WITH_VALUE and "=" not in word and words and "=" not in words[0]:
                flags.append(words.pop(0))
        elif word.startswith("-"):
            known = [*_FLAGS, "--config-dir", "--debug"]
            close = did_you_mean(name, known) if get_close_matches(name, known) else ""
            raise ConfigError(
                f"train has no option {name}.{close} Settings are written key=value, such as budget.epochs=1 seed=2."
            )
        else:
            overrides.append(word)
    return overrides, flags


def _one(words: Sequence[str], command: str) -> None:
    """Trains the run that the words describe, with the other processes of the launcher if there is one. Raises
    SystemExit with an exit code, the reason printed."""
    from plmc.config.resolve import resolve
    from plmc.console import Console
    from plmc.run import processes
    from plmc.run.check import check
    from plmc.run.execute import finished
    from plmc.run.sweep import end_with
    from plmc.training.interrupt import exit_code, what_stopped

    started_by_us = processes.spread_by_us()
    with together() as world:
        console = Console()
        try:
            run = resolve(plain(compose(words)), command=command)
            processes.check(run)
            count = processes.wanted(run)
            if count > 1 and not finished(run):
                check(run)
                raise SystemExit(processes.spread(words, count))
            if world.size > 1:
                end_with(os.getppid())
            _train(run, console)
            if world.first:
                send_waiting(run)
            part()
        except KeyboardInterrupt as stop:
            if world.first and not started_by_us:  # else the one that started this process says it
                console.say(f"\n[yellow]{what_stopped(stop)}[/]; the same command goes on from here")
            raise SystemExit(exit_code(stop)) from None
        except Exception as error:
            code = report(error)
            if world.size > 1:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher's, in the middle of the end
            if not world.first:
                time.sleep(LAST)
            raise SystemExit(code) from None


def job(config: Any) -> float:
    """Trains one job of a sweep; returns the score that a sweeper maximises. A failure is noted, not raised."""
    from plmc.config.resolve import resolve
    from plmc.console import Console
    from plmc.run import sweep
    from plmc.training.interrupt import exit_code, what_stopped

    console, context, run = Console(), sweep.current(), None
    if context is None:
        raise RuntimeError("plmc.run.sweep.SweepCallback did not run; hydra.callbacks.plmc must be in the config")
    sweep.end_with_parent()
    try:
        run = resolve(plain(config), command=sweep.own_command(), sweep=context.command)
        context.announce(run, console)
        score, value = _train(run, console, parent=context.parent, threads=threads(context.jobs, context.cores))
        context.note(run.signature, "finished", score)
        return value
    except KeyboardInterrupt as stop:
        console.say(f"\n[yellow]{what_stopped(stop)}[/]; the same command goes on from here")
        raise SystemExit(exit_code(stop)) from None
    except Exception as error:
        report(error)
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        context.note(run.signature if run else f"job {sweep.number()}", "failed", reason)
        return float("nan")


def _train(run: Run, console: Console, parent: Path | None = None, threads: int | None = None) -> tuple[float, float]:
    """Trains a run unless it is finished, and shows its result.

    Returns:
        Its score, and what a sweeper maximises: less where a limit is exceeded.
    """
    from plmc.run.check import capped
    from plmc.run.execute import execute, finished
    from plmc.run.search import excess, objective

    for text in capped(run):
        console.say(text)
    record = here().once(lambda: finished(run))
    if record:
        console.say(f"[green]finished before[/], nothing to train (force=true trains it again)  {run.signature}")
    # A finished run may lack an export that is asked for only now.
    if not record or run.settings.plain.quantize:
        record = execute(run, console, parent=parent, threads=threads)
    if here().first:
        show(run, console)
    for text in record.mlflow.warnings:
        console.warn(f"tracking: {text}")
    score = record.score
    over = excess(record, run.settings.limits)
    if over:
        console.warn(f"over the limits: {', '.join(f'{key} {times:.2f} times' for key, times in over.items())}")
    return score, objective(score, over)


def send_waiting(run: Run) -> None:
    """Sends what earlier runs of the same folder could not; nothing without tracking."""
    if run.settings.tracking.enabled:
        from plmc.track import send_pending

        send_pending(run.output_dir, patience=1.0)


def threads(jobs: int, given: int | None = None) -> int | None:
    """CPU threads of one of `jobs` that run at once; None = all cores.

    Args:
        given: the cores that a job's launcher asked for. Slurm says it to the job, too.
    """
    if own := given or int(os.environ.get("SLURM_CPUS_PER_TASK") or 0):
        return own
    if jobs <= 1:
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // jobs)


def report(error: Exception) -> int:
    """Prints an error for a person, on standard error; returns the exit code. A traceback only under `--debug`."""
    from rich.console import Console
    from rich.markup import escape

    code = getattr(error, "exit_code", 1)
    if isinstance(error, Elsewhere) or (not here().first and isinstance(error, PlmcError)):
        return code  # the first process says it
    from plmc.run.processes import spread_by_us

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if here().size > 1 and _connection(error):
        if not spread_by_us():  # else the one that started this process says which one was killed
            console.print(f"[red]error[/] process {here().rank}: another process of this run has ended.")
        return code
    if isinstance(error, PlmcError):
        console.print(f"[red]error[/] {escape(str(error))}")
    elif isinstance(error, OSError) and error.errno == errno.ENOSPC:
        console.print(
            "[red]error[/] the disk is full. What was finished is safe: make room and give the same command again."
        )
        code = TrainingError.exit_code
    elif short_of_memory(error):
        console.print(
            "[red]error[/] there is not enough memory (or the limit on memory, ulimit -v, is too low). What was "
            "finished is safe: take smaller steps (train.micro_batch=8), a smaller model or fewer jobs at once, and "
            "give the same command again."
        )
        code = TrainingError.exit_code
    elif isinstance(error, OSError) and error.filename:
        console.print(f"[red]error[/] {escape(str(error.filename))}: {error.strerror or type(error).__name__}.")
    else:
        console.print(
            f"[red]error[/] {type(error).__name__}: {escape(str(error)[:1000])}\nThis looks like a fault of plmc, not "
            f"yours. Repeat with --debug for the traceback and report it."
        )
    if os.environ.get(DEBUG):
        traceback.print_exception(error, file=sys.stderr)
    return code


def _connection(error: Exception) -> bool:
    """Whether the other end of a connection between processes is gone."""
    import torch.distributed as dist

    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error).lower())


def show(run: Run, console: Console) -> None:
    """The table at the end of a run, then the folder, last."""
    from plmc.report.summary import summary_table
    from plmc.results.find import load

    console.rich.print(summary_table(load(run.folder), run.output_dir))
    console.rich.print(str(run.folder), soft_wrap=True)
