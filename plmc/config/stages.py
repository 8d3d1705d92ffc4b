"""From the nodes of a recipe to its stages: methods, tasks, feeds and models built and put in their places."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from plmc.config.build import build
from plmc.config.folders import options
from plmc.config.typed import settle
from plmc.core import graph
from plmc.core.fields import verify
from plmc.core.method import Method
from plmc.core.stage import Stage
from plmc.errors import ConfigError
from plmc.models.spec import ModelSpec
from plmc.names import did_you_mean
from plmc.tasks.feed import Feed

if TYPE_CHECKING:
    from plmc.heads.base import Head
    from plmc.tasks.base import Task


def described(stages: Mapping[str, Any], head: Head) -> dict[str, Any]:
    """The nodes of the stages for a task with this head: those that are for it.

    A stage set to null (`recipe.stages.qat=null`) is left out. Where the run's task is running text, there is no other
    text to train on.
    """
    there = {name: dict(stage) for name, stage in stages.items() if stage is not None}
    kept = {name: stage for name, stage in there.items() if not stage.get("kinds") or head.kind in stage["kinds"]}
    if not head.supervised:
        for stage in kept.values():
            stage.pop("feeds", None)
    return kept


def stages(config: dict[str, Any], task: Task) -> tuple[Stage, ...]:
    """Stages with defaults from `train` and the command line's methods put where they belong."""
    all_of_them = config["recipe"].get("stages") or {}
    nodes = described(all_of_them, task.head)
    own = [name for name, node in nodes.items() if not node.get("shared")]
    if not own:
        raise ConfigError(f"recipe has no stages for a task of kind {task.head.kind}.")
    settle(config, own)
    nodes = described(all_of_them, task.head)
    methods = {name: dict(node.get("methods") or {}) for name, node in nodes.items()}
    for key, node in config["methods"].items():
        method: Method = build(node, f"methods.{key}")
        methods[own[0] if method.place == "first" else own[-1]][key] = method
    made = []
    for name, node in nodes.items():
        where = f"recipe.stages.{name}"
        values = {key: value for key, value in node.items() if key != "methods"}
        verify(Stage, values, where)
        # The words of train= are the student's; a shared stage is the same for all that name it.
        common = {"micro_batch": config["train"].get("micro_batch")} if values.get("shared") else config["train"]
        values = {**common, **{k: v for k, v in values.items() if v is not None}}
        if rate := config["budget"].get("lr"):
            values["lr"] = rate
        values |= _models(values, where)
        values |= _rows(values, task, where)
        made.append(Stage(**values | {"name": name, "methods": _methods(methods[name], where)}))
    graph.check(made, config.get("teachers") or {})
    return tuple(made)


def _methods(nodes: Mapping[str, Any], where: str) -> dict[str, Method]:
    built = {}
    for key, node in nodes.items():
        if isinstance(node, Mapping) and "_target_" not in node:
            there = [k for k, made in nodes.items() if isinstance(made, Method) or "_target_" in (made or ())]
            raise ConfigError(f"{where} has no method {key}.{did_you_mean(key, there)}")
        if node is not None:
            made = node if isinstance(node, Method) else build(node, f"{where}.methods.{key}")
            made.name = key
            built[key] = made
    return built


def _models(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The student, built where it is a model's description."""
    student = values.get("student")
    if not isinstance(student, Mapping):
        return {}
    if not values.get("shared"):
        raise ConfigError(
            f"{where}.student describes another model than the run's student, whose rows this run has tokenised. Make "
            f"the stage a run of its own: {where}.shared=true"
        )
    return {"student": build({"_target_": f"{ModelSpec.__module__}.ModelSpec", **student}, f"{where}.student")}


def _rows(values: Mapping[str, Any], run: Task, where: str) -> dict[str, Any]:
    """The task and the feeds, built; what is the run's own task becomes None."""
    own = task_of(values.get("task"), f"{where}.task")
    if own is not None and not run.head.supervised and own.head.kind == run.head.kind:
        own = own.on(run)
    given = values.get("feeds") or {}
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where}.feeds maps names to feeds: feeds: {{own: {{}}, text: {{corpus: FILE.txt}}}}")
    feeds = {}
    for name, node in given.items():
        if node is None:
            continue
        place = f"{where}.feeds.{name}"
        if not isinstance(node, Mapping):
            raise ConfigError(f"{place}={node}: a feed is a mapping, such as {place}.corpus=FILE.txt")
        verify(Feed, node, place)
        feed = Feed(**{**node, "task": task_of(node.get("task"), f"{place}.task")})
        feeds[str(name)] = feed
    for name, feed in feeds.items():
        _same_head(feed, own or run, f"{where}.feeds.{name}", alone=len(feeds) == 1)
    if feeds and {feed.share is None for feed in feeds.values()} == {True, False}:
        raise ConfigError(f"{where}.feeds: some feeds have a share and others have none. Give one to each, or to none.")
    return {"task": None if own == run else own, "feeds": feeds}


def task_of(node: Any, where: str) -> Task | None:
    """The task that a node describes: the name of an option, as in task=sst2, or a mapping with `_target_`."""
    if node is None:
        return None
    if isinstance(node, str):
        import yaml

        known = options("task")
        if node not in known:
            raise ConfigError(f"{where}={node}: there is no such task.{did_you_mean(node, known)}")
        node = yaml.safe_load(known[node].read_text(encoding="utf-8"))
    made: Task = build(node, where)
    return made


def _same_head(feed: Feed, task: Task, where: str, *, alone: bool) -> None:
    """Raises ConfigError if the rows of a feed have no place under the head of the stage's task, or beside others."""
    if feed.task is None:
        if feed.corpus is not None and task.head.per_token and not alone:
            raise ConfigError(
                f"{where}.corpus: lines of text have no answers, and the other feeds of task {task.name} do. Give the "
                "text a stage of its own."
            )
        return
    wanted, given = (task.head.kind, task.outputs), (feed.task.head.kind, feed.task.outputs)
    if wanted != given:
        raise ConfigError(
            f"{where}.task={feed.task.name} is {given[0]} with {given[1]} outputs, the stage's task {task.name} "
            f"{wanted[0]} with {wanted[1]}: one head cannot learn both. Make it a stage."
        )
