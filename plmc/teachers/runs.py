"""Runs whose models other runs share, from a run that wants one: its teachers, and its shared stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from plmc.config.resolve import Run, resolve
from plmc.core import graph
from plmc.core.stage import TEACHER, Stage
from plmc.models import load, masked_lm
from plmc.models.spec import ModelSpec
from plmc.tasks.base import Task

_LOSS = {"task": {"_target_": "plmc.methods.distill.task_loss.TaskLoss"}}
_HEAD_ONLY = {"head_only": {"_target_": "plmc.methods.mlm.head_only.HeadOnly"}}


def teacher_run(run: Run, task: Task, name: str = TEACHER) -> Run:
    """The run that trains a teacher of `run` on `task`: one per (model, task, data, seed, budget of rows).

    A model for running text that comes without a head gets one, on the frozen encoder; any other is fine-tuned.
    """
    spec = run.named_teachers()[name]
    stage = {
        "epochs": spec.epochs,
        "batch_size": spec.batch_size,
        "lr": spec.lr,
        "schedule": "linear",
        "weight_decay": 0.01,
        "warmup": "6%",
        "clip": 1.0,
        "eval_every": "1ep",
        "select": "best" if task.head.supervised else "last",
        "methods": _LOSS,
    }
    part = "finetune"
    if not task.head.supervised and spec.shape is None and not masked_lm.has_head(load.load_config(spec.name)):
        part, stage = "head", {**stage, "epochs": spec.head_epochs, "lr": spec.head_lr, "methods": _LOSS | _HEAD_ONLY}
    recipe = {"name": "teacher", "title": "Fine-tuned teacher", "paper": "", "stages": {part: stage}}
    node = run.config["teacher"] if name == TEACHER else run.config["teachers"][name]
    config = _apart(run, task, recipe, seed=spec.seed)
    config |= {
        # Only the rows are shared with the students' budget: how long the teacher trains is its own affair.
        "budget": {**config["budget"], "epochs": None, "lr": None},
        "teacher": {"_target_": run.config["teacher"]["_target_"], "name": None},
        "teachers": {},
        "student": _student(node),
    }
    return resolve(config, role="teacher", command=run.command)


def shared_run(run: Run, stage: Stage) -> Run:
    """The run that trains a shared stage of `run`, with the shared stages behind it."""
    nodes = run.config["recipe"]["stages"]
    wanted = [*graph.behind(stage.name, {each.name: each for each in run.recipe.stages}), stage.name]
    stages = {name: dict(nodes[name]) for name in nodes if name in wanted}
    node, task = stages[stage.name], run.task_of(stage)
    for gone in ("task", "shared", "kinds"):  # the task is the run's; other stages bring theirs
        node.pop(gone, None)
    if isinstance(stage.student, ModelSpec):
        del node["student"]
    for name, other in stages.items():
        if name != stage.name and run.recipe.stage(name).task is None:
            other["task"] = _node(run.task)
    recipe = {"name": stage.name, "title": f"Shared stage {stage.name}", "paper": "", "stages": stages}
    config = _apart(run, task, recipe, seed=run.config["teacher"].get("seed", run.seed))
    if stage.student == TEACHER:
        config["student"] = _student(run.config["teacher"])
    elif isinstance(stage.student, ModelSpec):
        config["student"] = _student(nodes[stage.name]["student"])
    return resolve(config, role="teacher", command=run.command)


def _apart(run: Run, task: Task, recipe: Mapping[str, Any], *, seed: int) -> dict[str, Any]:
    """The config of a run of its own that trains `task` by `recipe` on the rows of `run`."""
    own = task == run.task
    return {
        **run.config,
        "seed": seed,
        "task": run.config["task"] if own else _node(task.plain()),
        # What was asked for, not what the student's methods forced: all arms share one teacher.
        "precision": run.settings.plain.precision,
        "recipe": dict(recipe),
        "methods": {},
        "compile": False,
        # Text that a stage names has its own number of rows.
        "budget": run.config["budget"] | ({} if own or task.own_source is None else {"train_rows": None}),
        "train": {"epochs": 3, "micro_batch": run.config["train"]["micro_batch"]},
        "preset": None,
        "quantize": None,
        "force": False,
    }


def _student(node: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a student that is a teacher's model, all of it."""
    return {
        "_target_": "plmc.models.spec.ModelSpec",
        **{key: node.get(key) for key in ("name", "layers", "shape")},
        "pick": node.get("pick", "alternate"),
        **({"revision": node["revision"]} if node.get("revision") else {}),
    }


def _node(task: Task) -> dict[str, Any]:
    """The config of a task: its name and what is not a default."""
    cls = type(task)
    values = {entry.name: (getattr(task, entry.name), entry.default) for entry in fields(task) if entry.init}
    kept = {name: value for name, (value, default) in values.items() if value != default or name == "name"}
    return {"_target_": f"{cls.__module__}.{cls.__qualname__}", **kept}
