"""Files and folders that a config names: made absolute, and the user's rows known by their content."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from plmc import digests
from plmc.errors import ConfigError
from plmc.models.load import MINILM

_MODELS = (("teacher", "name"), ("teacher", "checkpoint"), ("student", "name"))
_TABLES = ("train", "validation", "test")
# What a model computes, and how it reads text.
_CONTENT = ("config.json", "*.safetensors", "tokenizer.json", "vocab.txt", "vocab.json", "merges.txt")


def place(config: dict[str, Any]) -> None:
    """Makes paths absolute, in place: the same words in another folder are another run.

    `config["files"]` gets a digest of each file that a task or a feed names and of each model that is a folder, so
    that changed rows or weights are another run, too.
    """
    files: dict[str, str | None] = {}
    config["output_dir"] = absolute(config["output_dir"])
    if config["data"].get("root"):
        config["data"]["root"] = absolute(config["data"]["root"])
    for group, key in _MODELS:
        name = config[group].get(key)
        # Folders go before Hub ids of the same name, as in `models.locate`.
        if name and name != MINILM and os.path.isdir(os.path.expanduser(name)):
            config[group][key] = absolute(name)
            files[f"{group}.{key}"] = folder_digest(config[group][key])
    for holder in _holders(config):
        files = _place_files(holder) | files  # the run's own task comes first
    config["files"] = files


def _holders(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The nodes that may name files of rows: tasks and feeds."""
    found = [config["task"]]
    for stage in (config["recipe"].get("stages") or {}).values():
        nodes = [stage, *(stage.get("feeds") or {}).values()] if stage else []
        found += [task for node in nodes if node and isinstance(task := node.get("task"), dict)]
        found += [node for node in nodes[1:] if isinstance(node, dict)]
    return found


def _place_files(holder: dict[str, Any]) -> dict[str, str | None]:
    """Makes the files of texts and tables that a node names absolute, in place; returns their digests."""
    files: dict[str, str | None] = {}
    for key in ("corpus", "held_out"):
        given = holder.get(key)
        names = [given] if isinstance(given, str) else given if isinstance(given, list) else []
        if names and all(os.path.isfile(os.path.expanduser(name)) for name in names):
            placed = [absolute(name) for name in names]
            holder[key] = placed[0] if isinstance(given, str) else placed
            files |= {f"text.{os.path.basename(name)}": digest(name) for name in placed}
    tables = {key: absolute(path) for key in _TABLES if (path := holder.get(key))}
    holder |= tables
    return files | {key: digest(path) for key, path in tables.items()}


def check_place(path: Path, option: str) -> None:
    """Raises ConfigError if no file or folder can be made at `path`: a parent is a file, is not ours, or a name is too
    long."""
    try:
        parent = next(each for each in path.expanduser().absolute().parents if each.exists())
    except OSError as error:
        raise ConfigError(f"{option} {str(path)[:80]}…: {error.strerror}.") from error
    if not parent.is_dir():
        raise ConfigError(f"{option} {path}: {parent} is a file, not a folder.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ConfigError(f"{option} {path}: you may not write in {parent}.")


def absolute(path: str) -> str:
    """The path from the root on, `~` resolved, links kept."""
    return os.path.abspath(os.path.expanduser(str(path)))


def digest(path: str) -> str | None:
    """16 hex digits of a file's content, None where there is no such file."""
    return digests.of_file(path)[:16] if os.path.isfile(path) else None


def folder_digest(folder: str) -> str:
    """16 hex digits of the weights, the config and the vocabulary in a model folder, or in the `model` folder of a
    run."""
    found = hashlib.sha256()
    for part in (Path(folder), Path(folder) / "model"):
        for path in sorted(path for pattern in _CONTENT for path in part.glob(pattern)):
            found.update(f"{path.name} {digest(str(path))}\n".encode())
    return found.hexdigest()[:16]
