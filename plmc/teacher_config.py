"""The run that trains a teacher, from the run that wants one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plmc.config import Run, resolve


def teacher_run(run: Run) -> Run:
    """The run that fine-tunes the teacher of `run`: one per (model, task, data, seed, budget of rows)."""
    spec = run.teacher
    stage = {
        "epochs": spec.epochs, "batch_size": spec.batch_size, "lr": spec.lr, "schedule": "linear",
        "weight_decay": 0.01, "warmup": "6%", "clip": 1.0, "eval_every": "1ep", "select": "best",
        "methods": {"task": {"_target_": "plmc.methods.distill.task_loss.TaskLoss"}},
    }
    recipe = {"name": "teacher", "title": "Fine-tuned teacher", "paper": "", "stages": {"finetune": stage}}
    return resolve(as_teacher(run, recipe), role="teacher", command=run.command)


def as_teacher(run: Run, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a run that trains the teacher of `run` by `recipe`, on the same rows, as a student without a teacher."""
    given = run.config["teacher"]
    return {
        **run.config,
        "seed": run.teacher.seed,
        # What was asked for, not what the student's methods forced: all arms share one teacher.
        "precision": run.precision,
        "teacher": {"_target_": given["_target_"], "name": None},
        "student": {
            "_target_": "plmc.models.ModelSpec",
            **{key: given.get(key) for key in ("name", "layers", "shape")}, "pick": given.get("pick", "alternate"),
        },
        "recipe": dict(recipe),
        "methods": {},
        "compile": False,
        # Only the rows are shared with the students' budget: how long the teacher trains is its own affair.
        "budget": {**run.config["budget"], "epochs": None, "lr": None},
        "train": {"epochs": 3, "micro_batch": run.config["train"]["micro_batch"]},
        "preset": None,
        "quantize": None,
        "force": False,
    }
