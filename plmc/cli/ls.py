"""`plmc ls`: tables of what there is, read from the config files themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from plmc.config.folders import options
from plmc.errors import ConfigError, DamagedFile
from plmc.names import did_you_mean

GROUPS = {
    "recipes": ("recipe",),
    "methods": ("method",),
    "tasks": ("task",),
    "models": ("teacher", "student"),
    "presets": ("preset",),
    "data": ("data",),
}


def ls(what: str, extra: Path | None, outputs: Path) -> None:
    """Prints one table per kind of thing."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    if what not in (*GROUPS, "runs", "all"):
        raise ConfigError(f"plmc ls {what}: nothing of that name.{did_you_mean(what, [*GROUPS, 'runs', 'all'])}")
    if extra is not None and not extra.is_dir():
        raise ConfigError(f"--config-dir {extra}: no such folder.")
    console = Console(highlight=False)
    if what == "runs":
        return console.print(_runs(outputs))
    for title, groups in GROUPS.items():
        if what not in ("all", title):
            continue
        for group in groups:
            heading = title if len(groups) == 1 else f"{title}: {group}"
            table = Table(title=heading, title_justify="left", box=None, padding=(0, 2, 0, 0))
            table.add_column(f"{group}=", style="bold")
            table.add_column("what it is", overflow="fold")
            known = {name: path for name, path in options(group, extra).items() if name != "base"}
            facts = {name: _facts(path, group) for name, path in known.items()} if group in ("recipe", "method") else {}
            papers = any(paper for paper, _ in facts.values())
            for column in ("paper",) * papers + ("needs",) * bool(facts):
                table.add_column(column, overflow="fold")
            for name, path in known.items():
                more = facts.get(name, ())[0 if papers else 1 :]
                table.add_row(name, *(escape(text) for text in (purpose(path), *more)))
            console.print(table)
            console.print()


def _runs(outputs: Path) -> Any:
    """A table of the runs in `outputs`, teachers last: what they scored, or that they are not finished."""
    from rich.table import Table
    from rich.text import Text

    from plmc.results.folders import begun
    from plmc.results.record import of_folder

    folders = sorted(begun(outputs, teachers=True))
    if not folders:
        raise ConfigError(f"{outputs} holds no runs. plmc train makes one; --outputs DIR looks elsewhere.")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("run", "score", "command"):
        table.add_column(column, overflow="fold")
    for folder in sorted(folders, key=lambda folder: (folder.parent != outputs, folder.name)):
        try:
            record = of_folder(folder)
            score, command = f"{record.primary_metric} {100 * record.score:.2f}", record.command
        except DamagedFile:
            score, command = "damaged", ""
        except OSError:
            score, command = "not finished", ""
        table.add_row(folder.name, score, Text(command, style="dim"))
    return table


def purpose(path: Path) -> str:
    """The first comment of a config file that is not a directive."""
    for line in _text(path).splitlines():
        text = line.strip()
        if text.startswith("#") and not text.startswith("# @"):
            return text.lstrip("# ").rstrip()
        if text and not text.startswith("#"):
            break
    return ""


def _facts(path: Path, group: str) -> tuple[str, str]:
    content = _load(path)
    methods: list[dict[str, Any]] = [content]
    if group == "recipe":
        content = _with_bases(path, content.get("recipe", content))
        stages = [stage for stage in (content.get("stages") or {}).values() if stage]  # null leaves a stage out
        methods = [m for stage in stages for m in (stage.get("methods") or {}).values() if m]
    needs = set()
    paper = content.get("paper", "")
    for method in methods:
        needs |= _needs(method)
    if group == "method":
        comments = [line for line in _text(path).splitlines() if line.startswith("# paper:")]
        paper = comments[0].removeprefix("# paper:").strip() if comments else ""
    return paper, ", ".join(sorted(needs)) or "nothing"


def _load(path: Path) -> dict[str, Any]:
    from omegaconf import OmegaConf
    from yaml import YAMLError

    _text(path)
    try:
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (YAMLError, OSError, ValueError) as error:
        raise ConfigError(f"{path} is no YAML that can be read: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no mapping of settings.")
    return {str(key): value for key, value in content.items()}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no YAML that can be read: {error}") from error


def _with_bases(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """A recipe laid over the recipe that its defaults list names, if it names one."""
    from omegaconf import OmegaConf

    defaults = _load(path).get("defaults") or []
    for base in (entry for entry in defaults if isinstance(entry, str) and entry != "_self_"):
        below = path.with_name(f"{base}.yaml")
        lower = _load(below)
        lower = _with_bases(below, lower.get("recipe", lower))
        merged: Any = OmegaConf.to_container(OmegaConf.merge(lower, content), resolve=False)
        content = merged
    return content


def _needs(method: dict[str, Any]) -> set[str]:
    from hydra.utils import get_class

    try:
        cls = get_class(method["_target_"])
    except Exception:  # a wrong import path raises whatever the import raises; `plmc validate` says what
        return {"?"}
    fields = {k: v for k, v in method.items() if not k.startswith("_") and not (isinstance(v, str) and "${" in v)}
    wanted = cls(**fields).required()
    plain = {"fp32": "fp32"}
    return {"a teacher" if need.startswith("teacher.") else plain.get(need, "") for need in wanted} - {""}
