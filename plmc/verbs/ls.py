"""`plmc ls`: tables of what there is, read from the config files themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from plmc.compose import options
from plmc.errors import ConfigError
from plmc.names import did_you_mean

GROUPS = {
    "recipes": ("recipe",), "methods": ("method",), "tasks": ("task",), "models": ("teacher", "student"),
    "presets": ("preset",), "data": ("data",),
}


def ls(what: str, extra: Path | None) -> None:
    """Prints one table per kind of thing."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    if what != "all" and what not in GROUPS:
        raise ConfigError(f"plmc ls {what}: nothing of that name.{did_you_mean(what, [*GROUPS, 'all'])}")
    console = Console(highlight=False)
    for title, groups in GROUPS.items():
        if what not in ("all", title):
            continue
        for group in groups:
            table = Table(title=f"{title}" if len(groups) == 1 else f"{title}: {group}", title_justify="left", box=None, padding=(0, 2, 0, 0))
            table.add_column(f"{group}=", style="bold")
            table.add_column("what it is", overflow="fold")
            if group in ("recipe", "method"):
                table.add_column("paper", overflow="fold")
                table.add_column("needs", overflow="fold")
            for name, path in options(group, extra).items():
                if name == "base":
                    continue
                row = [name, escape(purpose(path))]
                if group in ("recipe", "method"):
                    row += [escape(text) for text in _facts(path, group)]
                table.add_row(*row)
            console.print(table)
            console.print()


def purpose(path: Path) -> str:
    """The first comment of a config file that is not a directive."""
    for line in path.read_text(encoding="utf-8").splitlines():
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
        stages = (content.get("stages") or {}).values()
        methods = [m for stage in stages for m in (stage.get("methods") or {}).values() if m]
    needs = set()
    paper = content.get("paper", "")
    for method in methods:
        needs |= _needs(method)
    if group == "method":
        comments = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# paper:")]
        paper = comments[0].removeprefix("# paper:").strip() if comments else ""
    return paper, ", ".join(sorted(needs)) or "nothing"


def _load(path: Path) -> dict[str, Any]:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(OmegaConf.load(path), resolve=False)


def _with_bases(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """A recipe laid over the recipe that its defaults list names, if it names one."""
    from omegaconf import OmegaConf

    defaults = _load(path).get("defaults") or []
    for base in (entry for entry in defaults if isinstance(entry, str) and entry != "_self_"):
        below = path.with_name(f"{base}.yaml")
        lower = _load(below)
        lower = _with_bases(below, lower.get("recipe", lower))
        content = OmegaConf.to_container(OmegaConf.merge(lower, content), resolve=False)
    return content


def _needs(method: dict[str, Any]) -> set[str]:
    from hydra.utils import get_class

    cls = get_class(method["_target_"])
    fields = {k: v for k, v in method.items() if not k.startswith("_") and not (isinstance(v, str) and "${" in v)}
    wanted = cls(**fields).required()
    plain = {"fp32": "fp32"}
    return {"a teacher" if need.startswith("teacher.") else plain.get(need, "") for need in wanted} - {""}
