"""A finished run or a model folder by what the user typed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plmc import digests
from plmc.config.moved import current
from plmc.config.trust import check_config
from plmc.console import note
from plmc.errors import ConfigError
from plmc.models.load import locate, no_adapter
from plmc.models.reading import PART
from plmc.names import did_you_mean
from plmc.results import folders
from plmc.results.record import FILE


@dataclass(frozen=True)
class Picked:
    """`model`: folder with the model. `run`: the run it belongs to with its config, None for a plain model folder."""

    model: Path
    folder: Path | None
    config: dict[str, Any] | None


def pick(name: str, outputs: Path, allow: Sequence[str] = ()) -> Picked:
    """The model that `name` means: a folder, a signature, or its beginning (the newest such run).

    Args:
        allow: packages whose classes the config in the folder may name, as well as those of plmc.
    """
    path = Path(name).expanduser()
    if not path.is_dir():
        known = folders.finished(outputs, teachers=True)
        matches = sorted((f for f in known if f.name.startswith(name)), key=lambda f: (f / FILE).stat().st_mtime)
        if not matches:
            names = sorted(f.name for f in known)
            hint = did_you_mean(name, names) if names else f" {outputs} holds no finished run."
            raise ConfigError(f"{name}: no such folder or run.{hint}")
        path = matches[-1]
        if len(matches) > 1:
            note(f"{name} fits {len(matches)} runs; this is the newest, {path.name}.")
    if (path / PART).is_file() and not (path / "config.json").is_file():
        # The trained part of a model; the run next to it, if it is there, knows the task.
        config = current(digests.read_config(path.parent)) if (path.parent / "config.yaml").is_file() else None
        if config is not None:
            check_config(config, str(path.parent / "config.yaml"), allow)
        return Picked(Path(locate(str(path))), None, config)
    model = path if (path / "config.json").is_file() else path / "model"
    if not (model / "config.json").is_file():
        no_adapter(path)
        raise ConfigError(f"{path} holds no model. Is the run finished? The command that began it goes on with it.")
    folder = next((f for f in (path, path.parent) if (f / "config.yaml").is_file()), None)
    config = current(digests.read_config(folder)) if folder else None
    if folder:
        check_config(config, str(folder / "config.yaml"), allow)
    return Picked(model, folder, config)


def settings(picked: Picked, words: Sequence[str]) -> dict[str, Any]:
    """The config of the run with the words laid over it, or of the words alone for a plain model folder."""
    from plmc.config.compose import compose, plain
    from plmc.config.schema import read_root

    if picked.config is None:
        if not any(word.startswith("task=") for word in words):
            raise ConfigError(f"{picked.model} is no plmc run, so the task must be named: task=sst2 (plmc ls tasks)")
        return plain(compose(words))
    if not words:
        return picked.config
    composed = plain(compose(words))
    read_root(composed)
    named = {word.split("=", 1)[0].split(".")[0].lstrip("+") for word in words}
    # Groups that the words do not name keep the run's own settings.
    return {key: composed[key] if key in named or key not in picked.config else picked.config[key] for key in composed}
