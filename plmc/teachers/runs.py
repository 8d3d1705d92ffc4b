"""The runs that train teachers, from the run that wants one: fine-tuned, or as a masked language model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plmc.config.pretraining import taught_stage
from plmc.config.resolve import Run, resolve


def teacher_run(run: Run) -> Run:
    """The run that fine-tunes the teacher of `run`: one per (model, task, data, seed, budget of rows)."""
    spec = run.teacher
    stage = {
        "epochs": spec.epochs,
        "batch_size": spec.batch_size,
        "lr": spec.lr,
        "schedule": "linear",
        "weight_decay": 0.01,
        "warmup": "6%",
        "clip": 1.0,
        "eval_every": "1ep",
        "select": "best",
        "methods": {"task": {"_target_": "plmc.methods.distill.task_loss.TaskLoss"}},
    }
    recipe = {"name": "teacher", "title": "Fine-tuned teacher", "paper": "", "stages": {"finetune": stage}}
    return resolve(as_teacher(run, recipe), role="teacher", command=run.command)


def as_teacher(run: Run, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a run that trains the teacher of `run` by `recipe`, on the same rows, as a student without a
    teacher."""
    given = run.config["teacher"]
    return {
        **run.config,
        "seed": run.teacher.seed,
        # What was asked for, not what the student's methods forced: all arms share one teacher.
        "precision": run.settings.plain.precision,
        "teacher": {"_target_": given["_target_"], "name": None},
        "student": {
            "_target_": "plmc.models.spec.ModelSpec",
            **{key: given.get(key) for key in ("name", "layers", "shape")},
            "pick": given.get("pick", "alternate"),
            **({"revision": given["revision"]} if given.get("revision") else {}),
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


def language_model_run(run: Run, *, headless: bool) -> Run:
    """The run that makes the masked language model that teaches `run`;

    Args:
        headless: its files hold no head.
    """
    spec, stage = run.teacher.mlm, taught_stage(run)
    own = not run.task.head.supervised
    task = (
        dict(run.config["task"])
        if own
        else {
            # Every draw of masks is even here, so that recipes that favour rare tokens share the teacher.
            **{key: value for key, value in stage.mlm.items() if key != "smoothing"},
            "_target_": "plmc.tasks.mlm.MaskedLM",
            "name": "mlm",
            "corpus": stage.corpus,
            "rows": stage.corpus_rows,
        }
    )
    common = {
        "batch_size": spec.batch_size,
        "schedule": "linear",
        "weight_decay": 0.01,
        "clip": 1.0,
        "eval_every": "1ep",
        "select": "last",
    }
    loss = {"mlm": {"_target_": "plmc.methods.distill.task_loss.TaskLoss"}}
    stages: dict[str, Any] = {}
    if headless:
        head = {"head_only": {"_target_": "plmc.methods.mlm.head_only.HeadOnly"}}
        stages["head"] = {
            **common,
            "epochs": spec.head_epochs,
            "lr": spec.head_lr,
            "warmup": "6%",
            "methods": {**loss, **head},
        }
    if spec.train == "all" or not headless:
        stages["continue"] = {
            **common,
            "epochs": spec.epochs,
            "steps": spec.steps,
            "lr": spec.lr,
            "warmup": "1%",
            "methods": loss,
        }
    recipe = {"name": "mlm_teacher", "title": "Masked language model that teaches", "paper": "", "stages": stages}
    config = as_teacher(run, recipe) | {"task": task}
    if not own:
        # The text is named by the stage, so neither the rows' source nor their number makes another teacher.
        config["data"] = {"_target_": "plmc.data.hub.Hub", "name": "hub"}
        config["budget"]["train_rows"] = None
    return resolve(config, role="teacher", command=run.command)
