"""Sweeps: one MLflow parent, one child per job; failures are noted and the sweep goes on."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback

from plmc.config.typed import as_typed


@dataclass(frozen=True)
class Context:
    """The sweep a job belongs to.

    Attributes:
        folder: of the sweep, in `output_dir`.
        tracked: whether MLflow has a parent run for it.
        jobs: number of jobs that run at once.
        cores: those of one job, where its launcher says how many it gets.
        command: what began it.
        owner: the process that began it.
    """

    folder: Path
    tracked: bool
    jobs: int
    command: str
    owner: int
    cores: int | None = None

    @property
    def parent(self) -> Path | None:
        """What a job's tracker takes as its parent."""
        return self.folder if self.tracked else None

    def announce(self, run: Any, console: Any) -> None:
        """Says which job starts; a run that was tracked before, on its own, moves under the sweep's parent."""
        console.say(f"\n[bold cyan]job[/] {run.signature}")
        if self.parent:
            from plmc.track import adopt

            adopt(run.folder, self.parent)

    def note(self, signature: str, status: str, value: Any) -> None:
        """Leaves one small file per job, so that jobs in other processes need no lock."""
        from plmc.files import write_json

        write_json(
            self.folder / "jobs" / f"{signature}.json", {"signature": signature, "status": status, "value": value}
        )


class _State:
    """What this process knows of the sweep it works for; Hydra's callbacks are the only way into a job's process."""

    command = ""
    context: Context | None = None
    failed = False
    begun: Context | None = None


def current() -> Context | None:
    """The sweep this process works for, or None."""
    return _State.context


def begin(command: str) -> None:
    """Forgets the sweep of an earlier call in the same process; `command` begins the next one."""
    _State.command, _State.context, _State.failed, _State.begun = command, None, False, None


def end_with_parent() -> None:
    """In a worker of a parallel sweep: ends this process soon after the one that began the sweep."""
    owner = _State.context.owner if _State.context else None
    if owner == os.getppid():
        end_with(owner)


def end_with(owner: int) -> None:
    """Ends this process soon after its parent `owner`, which SIGKILL may end.

    What is lost is what SIGKILL here would lose: nothing that was finished.
    """

    def watch() -> None:
        while os.getppid() == owner:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="plmc-parent").start()


def number() -> int:
    """Which job of the sweep this is, from 0."""
    from hydra.core.hydra_config import HydraConfig

    return HydraConfig.get().job.num


def own_command() -> str:
    """What trains this job of the sweep alone."""
    from hydra.core.hydra_config import HydraConfig

    return shlex.join(["plmc", "train", *map(as_typed, HydraConfig.get().overrides.task)])


def exit_code() -> int:
    """1 if some job of the sweep failed."""
    return int(_State.failed)


class SweepCallback(Callback):
    """Hydra calls this around every run; only sweeps are of interest.

    A launcher that starts processes sends this object along, and with it what a job must know of its sweep.
    """

    def __init__(self) -> None:
        self.context: Context | None = None

    def on_job_start(self, config: Any, **kwargs: Any) -> None:
        _State.context = self.context

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        from omegaconf import OmegaConf

        hydra = config.hydra
        plain: Any = OmegaConf.to_container(config, resolve=False)
        output = Path(os.path.abspath(os.path.expanduser(plain["output_dir"])))
        task = sorted(hydra.overrides.task)
        name = hashlib.sha256(json.dumps(task).encode()).hexdigest()[:10]
        folder = output / "sweeps" / name
        (folder / "jobs").mkdir(parents=True, exist_ok=True)
        for note in (folder / "jobs").glob("*.json"):
            note.unlink()
        # Known before tracking begins, which a store may refuse: Hydra turns what a callback raises into a warning.
        jobs, cores = _parallel(hydra.launcher), _cores(hydra.launcher)
        self.context = Context(folder, False, jobs, _State.command, os.getpid(), cores)
        tracking = config.tracking
        if tracking.enabled:
            from plmc.track import default_uri, parent_run

            words = as_typed(" ".join(_swept(task)))[:120]
            tags = {"plmc.role": "sweep", "plmc.command": _State.command}
            uri = tracking.uri or default_uri(output)
            parent_run(folder, uri=uri, experiment=tracking.experiment, name=f"sweep {words}", tags=tags)
            self.context = replace(self.context, tracked=True)
        _State.begun = self.context

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        if self.context is not None:
            _end(self.context)


# What launchers raise when a job's process is gone: submitit, joblib, Ray.
_GONE = ("UncompletedJobError", "FailedJobError", "TerminatedWorkerError", "WorkerCrashedError", "RayActorError")


def cut_off(error: Exception) -> bool:
    """Ends a sweep of which a job's process was killed: shows what is finished. False for any other error."""
    from rich.console import Console

    context = _State.begun
    if context is None or type(error).__name__ not in _GONE:
        return False
    _end(context)
    _State.failed = True
    Console(stderr=True, highlight=False, soft_wrap=True).print(
        "[red]error[/] the process of a job ended without a result: it was killed, or had no memory left. What is "
        "finished is safe: the same command goes on with the others."
    )
    return True


def _end(context: Context) -> None:
    """The table of a sweep's jobs, also for MLflow's parent run."""
    notes = [json.loads(path.read_text()) for path in sorted((context.folder / "jobs").glob("*.json"))]
    failed = [note for note in notes if note["status"] != "finished"]
    _State.failed = bool(failed or not notes)
    _table(notes)
    if context.parent:
        from plmc.track import close_parent, send_pending

        summary = {"jobs": len(notes), "jobs_failed": len(failed)}
        scores = [note["value"] for note in notes if note["status"] == "finished"]
        if scores:
            summary["best"] = max(scores)
        close_parent(context.folder, summary, "FAILED" if failed else "FINISHED")
        send_pending(context.folder.parents[1], patience=1.0)


def _swept(words: list[str]) -> list[str]:
    """The words that vary, or all where none is a plain list of values: what tells one sweep from another."""
    own = [word for word in words if not word.startswith("hydra")]
    function = re.compile(r"=(range|interval|glob)\(|=choice\([^)]*,")
    varied = [word for word in own if "," in re.sub(r"[\[({].*?[\])}]", "", word) or function.search(word)]
    return varied or own


def _cores(launcher: Any) -> int | None:
    """The CPU cores of one job: what submitit and Ray were asked for. submitit's local jobs start all at once, so it is
    one unless asked; so it is on Ray, which counts by it how many jobs fit."""
    kind = str(launcher.get("_target_", ""))
    if "ray_launcher" in kind:
        remote = ((launcher.get("ray") or {}).get("remote") or {}) if "Aws" not in kind else {}
        return max(1, int(remote.get("num_cpus") or 1))
    if "submitit" not in kind:
        return None
    asked = launcher.get("cpus_per_task")
    return int(asked) if asked else (1 if "Local" in kind else None)


def _parallel(launcher: Any) -> int:
    """How many jobs a launcher runs at once on this machine: joblib's `n_jobs`; the basic launcher has one."""
    asked = launcher.get("n_jobs") if "joblib" in str(launcher.get("_target_", "")) else 1
    cores = os.cpu_count() or 1
    return max(1, cores + 1 + asked if asked is not None and asked < 0 else min(asked or 1, 10_000))


def _table(notes: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="sweep", title_justify="left")
    for column in ("job", "status", "score or reason"):
        table.add_column(column, overflow="fold")
    for note in notes:
        value = f"{note['value']:.4f}" if isinstance(note["value"], float) else str(note["value"])
        colour = "green" if note["status"] == "finished" else "red"
        table.add_row(note["signature"], f"[{colour}]{note['status']}[/]", value)
    Console().print(table)
    if any(note["status"] != "finished" for note in notes):
        Console().print("The same command runs only the failed jobs again.")
