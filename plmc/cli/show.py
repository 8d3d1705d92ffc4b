"""`plmc show` and `plmc validate`: what a command means, and whether it can work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmc.config.compose import compose, plain, single_runs, split_words
from plmc.config.folders import options

if TYPE_CHECKING:
    from plmc.config.resolve import Run
    from plmc.core.stage import Stage


def validate(words: Sequence[str]) -> None:
    """Checks every run that the words describe; prints one line each. Raises the first error."""
    from rich.console import Console
    from rich.markup import escape

    from plmc.config.resolve import resolve
    from plmc.models import load
    from plmc.run.check import capped, check, vocabularies
    from plmc.tasks.rows import evaluation_splits

    words = [word for word in words if word not in ("-m", "--multirun")]
    for single in single_runs(words):
        run = resolve(plain(compose(single)))
        check(run)
        for text in capped(run):
            Console(highlight=False, soft_wrap=True).print(f"note {escape(text)}")
        vocabularies(run, load.load_tokenizer(run.student.name))
        if run.task.own_source:
            # Files of the user's own cost no download, so their rows are looked at, too.
            evaluation_splits(run.task, run.task.own_source.load(run.task))
        Console(highlight=False).print(f"[green]ok[/] {run.signature}")


def show(words: Sequence[str]) -> None:
    """Prints stages, losses, settings and their origins of one run."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from plmc.config.resolve import resolve
    from plmc.core.chain import Chain
    from plmc.run.stages import formula

    run = resolve(plain(compose(words)))
    console = Console(highlight=False)
    console.print(f"[bold]{run.recipe.name}[/]  {run.recipe.title}  [dim]{run.recipe.paper}[/]")
    who = run.teacher.checkpoint or run.teacher.name or "none"
    console.print(f"task {run.task.name} ({run.task.head.kind}, judged by {run.task.metric})   data {run.source.name}")
    console.print(f"teacher {who}   student {escape(_model(run.student))}   precision {run.precision}")
    numbers = {stage.name: f"stage {number}" for number, stage in enumerate(run.stages, 1)}
    for stage in run.recipe.stages:
        title = f"{numbers.get(stage.name, 'shared stage')}: {stage.name}"
        table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
        table.add_column(style="dim")
        table.add_column(overflow="fold")
        budget = f"{stage.steps} updates" if stage.steps else f"{stage.epochs:g} epochs"
        for label, value in _sources(run, stage):
            table.add_row(label, escape(value))
        table.add_row("loss", formula(Chain(stage.methods)))
        table.add_row("budget", f"{budget} of {stage.batch_size} rows an update" + _caps(run))
        rate = f"lr {stage.lr:g}, {stage.schedule}, warm-up {stage.warmup}"
        table.add_row("optimizer", f"AdamW {rate}, weight decay {stage.weight_decay:g}, clip {stage.clip:g}")
        table.add_row("judged", f"every {stage.eval_every}, keeps the {stage.select}")
        for name, method in stage.methods.items():
            fields = {k: v for k, v in vars(method).items() if k != "name" and not k.startswith("_") and _simple(v)}
            table.add_row(name, escape(", ".join(f"{k}={v}" for k, v in fields.items()) or type(method).__name__))
        console.print(table)
    table = Table(
        title="what is not a default, and where it came from", title_justify="left", box=None, padding=(0, 2, 0, 0)
    )
    for column in ("key", "value", "from"):
        table.add_column(column, overflow="fold")
    for key, value, origin in origins(words, {key: value for key, value in run.config.items() if key != "files"}):
        table.add_row(escape(key), escape(str(value)), escape(origin))
    console.print(table)
    console.print(f"[dim]folder[/] {run.folder}")


def _sources(run: Run, stage: Stage) -> list[tuple[str, str]]:
    """What a stage learns, on which rows, starting from what and from whom, as far as that is not the run's."""
    from plmc.core.stage import PREVIOUS, TEACHER

    found = []
    if stage.task is not None:
        corpus = getattr(stage.task, "corpus", None)
        found.append(("task", f"{stage.task.name} ({stage.task.head.kind})" + (f", text {corpus}" if corpus else "")))
    if stage.feeds:
        own = run.task_of(stage).name
        each = [
            f"{name}: {feed.corpus or (feed.task.name if feed.task else own)}"
            + (f" (share {feed.share:g})" if feed.share else "")
            for name, feed in stage.feeds.items()
        ]
        found.append(("rows", "; ".join(each) + (f"; {stage.mix}" if len(each) > 1 else "")))
    if stage.student != PREVIOUS:
        student = stage.student if isinstance(stage.student, str) else _model(stage.student)
        found.append(("starts from", student))
    if stage.learns and stage.teachers != (TEACHER,):
        found.append(("learns from", ", ".join(stage.teachers)))
    return found


def origins(words: Sequence[str], config: dict[str, Any]) -> list[tuple[str, Any, str]]:
    """`(key, value, origin)` of every value that the bare command would not have.

    A chosen file is one line; its values are in the tables above.
    """
    from plmc.names import dotted

    default, now = dotted(plain(compose([]))), dotted(config)
    changed = {
        key: value for key, value in now.items() if default.get(key, object()) != value and not key.endswith("_target_")
    }
    overrides, extra = split_words(words)
    chosen = dict(word.lstrip("+~").split("=", 1) for word in overrides if "=" in word)
    preset, values, groups = _preset(chosen.get("preset"), extra)
    typed = tuple(f".{key}" for key in chosen if key.startswith("methods."))
    found = [
        (key, changed.pop(key), "command line")
        for key in list(changed)
        if key in chosen or key.endswith(typed) or (key.endswith(".epochs") and "epochs" in chosen)
    ]
    found += [(key, changed.pop(key), preset) for key in list(changed) if key in values]
    for group in GROUPS:
        below = "methods" if group == "method" else group
        inside = [key for key in changed if key.split(".")[0] == below]
        if not inside:
            continue
        names = chosen[group].strip("[]").split(",") if group in chosen else []
        origin = ", ".join(f"conf/{group}/{name}.yaml" for name in names) or (preset if group in groups else FOLLOWS)
        found.append((f"{below}.*", f"{len(inside)} values", origin))
        for key in inside:
            changed.pop(key)
    return found + [(key, value, FOLLOWS) for key, value in changed.items()]


GROUPS = ("task", "data", "teacher", "student", "recipe", "method", "tracking")
FOLLOWS = "follows from another choice"


def _preset(name: str | None, extra: Path | None) -> tuple[str, set[str], set[str]]:
    """The preset's file, the keys it sets, and the groups it chooses an option of."""
    import yaml

    from plmc.names import dotted

    path = options("preset", extra).get(name or "")
    if path is None:
        return "", set(), set()
    content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    chosen = {key.split("/")[-1] for entry in content.pop("defaults", []) if isinstance(entry, dict) for key in entry}
    return f"conf/preset/{name}.yaml", set(dotted(content)), chosen


def _model(spec: Any) -> str:
    if spec.shape:
        return f"{spec.name}, random weights, {spec.shape}"
    return spec.name if spec.layers is None else f"{spec.name}, layers {spec.layers} ({spec.pick})"


def _caps(run: Any) -> str:
    caps = {k: v for k, v in vars(run.budget).items() if v is not None}
    return f"   (budget: {', '.join(f'{k} {v:g}' for k, v in caps.items())})" if caps else ""


def _simple(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool, list, tuple)) or value is None
