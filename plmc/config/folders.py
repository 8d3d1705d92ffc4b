"""Folders that hold configs: ours, those of installed packages, the user's."""

from __future__ import annotations

from pathlib import Path

from plmc.config.packages import config_folders
from plmc.errors import ConfigError

ROOT = "train"


def conf_dir() -> Path:
    """The folder of shipped configs: in the installed package, or next to it in a checkout."""
    here = Path(__file__).parent.parent
    for candidate in (here / "conf", here.parent / "conf"):
        if (candidate / f"{ROOT}.yaml").is_file():
            return candidate
    raise ConfigError(
        f"plmc's configs are missing: neither {here / 'conf'} nor {here.parent / 'conf'} holds {ROOT}.yaml. "
        "Reinstall plmc."
    )


def options(group: str, extra: Path | None = None) -> dict[str, Path]:
    """Names of the options of a config group, with their files: ours, those of installed packages, the user's."""
    found: dict[str, Path] = {}
    for root in (conf_dir(), *config_folders().values(), extra):
        if root and (root / group).is_dir():
            found |= {path.stem: path for path in sorted((root / group).glob("*.yaml"))}
    return dict(sorted(found.items()))


def search_path(extra: Path | None = None) -> list[str]:
    """The override that gives Hydra the config folders other than ours; empty if there are none."""
    folders = [*config_folders().values(), *([extra.resolve()] if extra else [])]
    return [f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in folders)}]"] if folders else []
