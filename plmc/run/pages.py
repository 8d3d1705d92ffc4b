"""What MLflow's pages show of a run apart from its curves: who, from what, with which settings, and how it ended."""

from __future__ import annotations

import getpass
from typing import Any

from plmc.config.resolve import Run
from plmc.core.stage import Stage
from plmc.measure import software
from plmc.names import dotted
from plmc.report.card import overview
from plmc.results.record import Record

_SETTINGS = ("lr", "batch_size", "schedule", "warmup", "weight_decay", "clip", "epochs")


def settings(stage: Stage) -> dict[str, Any]:
    """What the stage trains with; `steps` in place of `epochs` where it has them."""
    found = {key: getattr(stage, key) for key in _SETTINGS}
    if stage.steps is not None:
        found["steps"] = stage.steps
        del found["epochs"]
    return found


def tags(run: Run) -> dict[str, str]:
    """Tags of a run that begins; those of MLflow's own names fill its columns for user, source and version."""
    commit = software.git_state().get("commit")
    return {
        "plmc.role": run.role,
        "plmc.recipe": run.recipe.name,
        "plmc.task": run.task.name,
        "plmc.seed": str(run.seed),
        "plmc.data_source": run.source.name,
        "plmc.signature": run.signature,
        "plmc.command": run.command,
        "plmc.made_up_data": str(run.source.name == "embedded").lower(),
        "mlflow.user": _user(),
        "mlflow.source.name": "plmc train",
        "mlflow.source.type": "LOCAL",
        "mlflow.note.content": f"```\n{run.command}\n```",
        **({"mlflow.source.git.commit": commit} if commit else {}),
    }


def params(run: Run) -> dict[str, Any]:
    """The config's settings that have a value, by their dotted keys, and what each stage trains with."""
    stages: dict[str, Any] = {}
    for stage in run.stages:
        stages |= {f"stage.{stage.name}.{key}": value for key, value in settings(stage).items()}
        stages[f"stage.{stage.name}.methods"] = ", ".join(stage.methods)
    return {key: value for key, value in dotted(run.config).items() if _says(key, value)} | stages


def note(run: Run, record: Record) -> str:
    """The description of a finished run, in Markdown: its command, its scores and the teacher's, its cost."""
    return f"```\n{run.command}\n```\n\n{overview(record)}"


def _says(key: str, value: Any) -> bool:
    return value is not None and value != [] and not key.endswith("_target_")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return "unknown"
