"""Configs of earlier versions in today's words: where classes are now, and what stages say of rows and teachers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plmc.core.stage import Stage

_MOVED = {
    "plmc.config.TeacherSpec": "plmc.teachers.spec.TeacherSpec",
    "plmc.models.ModelSpec": "plmc.models.spec.ModelSpec",
    "plmc.models.Shape": "plmc.models.spec.Shape",
}


_MLM = {"_target_": "plmc.tasks.mlm.MaskedLM", "name": "mlm"}
_OPTIONS, _PREPARED = "mlm", "prepare"


def translated(config: dict[str, Any]) -> dict[str, Any]:
    """A config in which stages no longer say `mlm`, `corpus` and `teacher`, nor the teacher `mlm`."""
    teacher = dict(config.get("teacher") or {})
    options = teacher.pop(_OPTIONS, None) or {}
    if isinstance(options, Mapping):
        teacher |= {key: options[key] for key in ("head_epochs", "head_lr") if key in options}
    recipe = config.get("recipe")
    stages = recipe.get("stages") if isinstance(recipe, Mapping) else None
    if not isinstance(recipe, Mapping) or not isinstance(stages, Mapping):
        return config
    made: dict[str, Any] = {}
    for name, stage in stages.items():
        new = _stage(stage) if isinstance(stage, Mapping) else stage
        if new is not None and options.get("train") == "all" and stage.get(_OPTIONS) is not None:
            made.setdefault(_PREPARED, _prepared(new, options))
            new |= {"student": _PREPARED, "teachers": [_PREPARED]}
        made[name] = new
    return {**config, "teacher": teacher or config.get("teacher"), "recipe": {**recipe, "stages": made}}


def _stage(old: Mapping[str, Any]) -> dict[str, Any]:
    new = {key: value for key, value in old.items() if key not in Stage.former}
    text = {"corpus": old.get("corpus"), "rows": old.get("corpus_rows")}
    if old.get(_OPTIONS) is not None:
        new |= {"task": {**_MLM, **text, **old[_OPTIONS]}, "student": "teacher", "keep": True}
    elif old.get("data") == "corpus":
        new["feeds"] = {"text": {key: value for key, value in text.items() if value is not None}}
    if isinstance(old.get("teacher"), str):
        new["teachers"] = [{"finetuned": "teacher"}.get(old["teacher"], old["teacher"])]
    return new


def _prepared(stage: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The stage that trains the teacher on before the first one learns from it."""
    own = {key: options[key] for key in ("epochs", "steps", "lr", "batch_size") if options.get(key) is not None}
    fixed = {"schedule": "linear", "weight_decay": 0.01, "clip": 1.0, "eval_every": "1ep", "select": "last"}
    task = {key: value for key, value in stage["task"].items() if key != "smoothing"}
    loss = {"task": {"_target_": "plmc.methods.distill.task_loss.TaskLoss"}}
    return {"shared": True, "student": "teacher", "task": task, "warmup": "1%", **fixed, **own, "methods": loss}


def current(node: Any) -> Any:
    """A config with today's path in each `_target_`: a run made before a class moved is still read."""
    if isinstance(node, Mapping):
        return {
            key: _MOVED.get(value, value) if key == "_target_" and isinstance(value, str) else current(value)
            for key, value in node.items()
        }
    return [current(each) for each in node] if isinstance(node, list) else node
