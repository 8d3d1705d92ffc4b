"""What Hydra calls: one job of a run or of a sweep."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from plmc.compose import compose, conf_dir, plain, single_runs, split_words
from plmc.errors import ConfigError, PlmcError

DEBUG = "PLMC_DEBUG"


def precheck(words: Sequence[str]) -> None:
    """Resolves every run the words stand for, so that a typo in the last job of a sweep is found before the first."""
    from plmc.config import resolve

    for single in single_runs(words):
        resolve(plain(compose(single)))


def launch(words: Sequence[str], command: str) -> int:
    """Hands the words to Hydra (runs, sweeps, launchers, `--cfg job`); returns the exit code."""
    import hydra

    from plmc import sweep

    special = [word for word in words if word.startswith("-") and word not in ("-m", "--multirun")]
    special = [word for word in special if not word.startswith(("--config-dir", "-cd"))]
    if not special:
        split_words(words)
        precheck([word for word in words if word not in ("-m", "--multirun")])
        sweeping = [word for word in single_runs([w for w in words if w not in ("-m", "--multirun")])]
        if len(sweeping) > 1 and not {"-m", "--multirun"} & set(words):
            raise ConfigError(f"several values make a sweep, which needs -m:\n  {command.replace(' train', ' train -m', 1)}")
    os.environ["PLMC_COMMAND"] = command
    sweep.forget()
    sys.argv = ["plmc train", *words]
    entry = hydra.main(version_base="1.3", config_path=str(conf_dir().resolve()), config_name="train")(job)
    entry()
    return sweep.exit_code()


def job(config: Any) -> float:
    """Trains one composed config; returns the score a sweeper maximises. In a sweep a failure is noted, not raised."""
    from plmc import sweep
    from plmc.config import resolve
    from plmc.console import Console
    from plmc.run.execute import execute, finished

    console = Console()
    context = sweep.current()
    run = None
    try:
        run = resolve(plain(config), command=os.environ.get("PLMC_COMMAND", ""))
        if context:
            context.announce(run, console)
        known = finished(run)
        if known:
            console.say(f"[green]finished before[/], nothing to train (force=true trains it again)  {run.signature}")
        result = known or execute(run, console, parent=context.parent if context else None, threads=threads(context))
        show(run, result, console)
        if context:
            context.note(run.signature, "finished", result["metrics"][result["primary_metric"]])
        return result["metrics"][result["primary_metric"]]
    except KeyboardInterrupt:
        console.say("\n[yellow]interrupted[/]; the same command goes on from here")
        raise SystemExit(130) from None
    except Exception as error:
        if not context:
            raise SystemExit(report(error, console)) from None
        report(error, console)
        context.note(run.signature if run else "unresolved", "failed", str(error).splitlines()[0] if str(error) else type(error).__name__)
        return float("nan")


def threads(context: Any) -> int | None:
    """CPU threads of this job when several run at once; None = all cores."""
    if not context or context.jobs <= 1:
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // context.jobs)


def report(error: Exception, console: Any) -> int:
    """Prints an error for a person; returns the exit code. A traceback only under `--debug` or for our own faults."""
    from rich.markup import escape

    if isinstance(error, PlmcError):
        console.rich.print(f"[red]error[/] {escape(str(error))}")
    elif isinstance(error, OSError) and error.errno == 28:
        console.rich.print("[red]error[/] the disk is full. What was finished is safe: make room and give the same command again.")
    else:
        console.rich.print(
            f"[red]error[/] {type(error).__name__}: {escape(str(error)[:1000])}\nThis looks like a fault of plmc, not yours. "
            f"Repeat with --debug for the traceback and report it."
        )
    if os.environ.get(DEBUG):
        traceback.print_exception(error, file=sys.stderr)
    return getattr(error, "exit_code", 1)


def show(run: Any, result: dict[str, Any], console: Any) -> None:
    """The table at the end of a run, then the folder, last."""
    from plmc.report.summary import summary_table

    console.rich.print(summary_table(result, run.output_dir))
    console.rich.print(result["folder"], soft_wrap=True)
