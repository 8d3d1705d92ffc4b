"""What Hydra calls: one job of a run or of a sweep."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from plmc.config.compose import compose, conf_dir, for_jobs, plain, single_runs, split_words
from plmc.config.typed import reach
from plmc.errors import ConfigError, PlmcError, TrainingError, short_of_memory
from plmc.names import did_you_mean

DEBUG = "PLMC_DEBUG"


def precheck(words: Sequence[str]) -> None:
    """Resolves every run the words stand for, so that a typo in the last job of a sweep is found before the first."""
    from plmc.config.resolve import resolve

    for single in single_runs(words):
        resolve(plain(compose(single)))


def launch(words: Sequence[str], command: str) -> int:
    """Hands the words to Hydra (runs, sweeps, launchers, `--cfg job`); returns the exit code."""
    import hydra

    from plmc.run import sweep

    overrides, flags = split_flags(words)
    names = {flag.split("=", 1)[0] for flag in flags if flag.startswith("-")}
    sweeping = bool(_MULTIRUN & names)
    if names <= _MULTIRUN:
        if len(single_runs(overrides)) > 1 and not sweeping:
            raise ConfigError(
                f"several values make a sweep, which needs -m:\n  {command.replace(' train', ' train -m', 1)}"
            )
        precheck(overrides)
    elif not sweeping:
        # Hydra will only print, but its own words about a wrong name help nobody.
        compose(overrides)
    os.environ["PLMC_COMMAND"] = command
    sweep.forget()
    # Hydra's parser takes overrides in one piece only.
    own, folder = split_words(for_jobs(overrides) if sweeping else overrides)
    own = own if sweeping else reach(own)
    sys.argv = ["plmc train", *flags, *(["--config-dir", str(folder)] if folder else []), *own]
    entry = hydra.main(version_base="1.3", config_path=str(conf_dir().resolve()), config_name="train")(job)
    entry()
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


def job(config: Any) -> float:
    """Trains one composed config; returns the score a sweeper maximises. In a sweep a failure is noted, not raised."""
    from plmc.config.resolve import resolve
    from plmc.console import Console
    from plmc.run import sweep
    from plmc.run.check import capped
    from plmc.run.execute import execute, finished
    from plmc.run.search import excess, objective
    from plmc.training.interrupt import exit_code, what_stopped

    console = Console()
    context = sweep.current()
    sweep.end_with_parent()
    run = None
    try:
        run = resolve(plain(config), command=sweep.own_command() if context else os.environ.get("PLMC_COMMAND", ""))
        if context:
            context.announce(run, console)
        for text in capped(run):
            console.say(text)
        known = finished(run)
        if known:
            console.say(f"[green]finished before[/], nothing to train (force=true trains it again)  {run.signature}")
        # A finished run may lack an export that is asked for only now.
        if not known or run.config["quantize"]:
            known = execute(run, console, parent=context.parent if context else None, threads=threads(context))
        result = known
        show(run, result, console)
        for text in (result.get("mlflow") or {}).get("warnings", ()):
            console.warn(f"tracking: {text}")
        score = result["metrics"][result["primary_metric"]]
        over = excess(result, run.config.get("limits") or {})
        if over:
            console.warn(f"over the limits: {', '.join(f'{key} {times:.2f} times' for key, times in over.items())}")
        if context:
            context.note(run.signature, "finished", score)
        else:
            send_waiting(run)
        return objective(score, over)
    except KeyboardInterrupt as stop:
        console.say(f"\n[yellow]{what_stopped(stop)}[/]; the same command goes on from here")
        raise SystemExit(exit_code(stop)) from None
    except Exception as error:
        code = report(error)
        if not context:
            raise SystemExit(code) from None
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        context.note(run.signature if run else f"job {sweep.number()}", "failed", reason)
        return float("nan")


def send_waiting(run: Any) -> None:
    """Sends what earlier runs of the same folder could not; nothing without tracking."""
    if run.config["tracking"]["enabled"]:
        from plmc.track import send_pending

        send_pending(run.output_dir, patience=1.0)


def threads(context: Any) -> int | None:
    """CPU threads of this job when several run at once; None = all cores."""
    if not context or context.jobs <= 1:
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // context.jobs)


def report(error: Exception) -> int:
    """Prints an error for a person, on standard error; returns the exit code. A traceback only under `--debug`."""
    from rich.console import Console
    from rich.markup import escape

    console, code = Console(stderr=True, highlight=False, soft_wrap=True), getattr(error, "exit_code", 1)
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


def show(run: Any, result: dict[str, Any], console: Any) -> None:
    """The table at the end of a run, then the folder, last."""
    from plmc.report.summary import summary_table

    console.rich.print(summary_table(result, run.output_dir))
    console.rich.print(result["folder"], soft_wrap=True)
