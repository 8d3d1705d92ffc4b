"""Files and folders that a config names: made absolute, and the user's rows known by their content."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from plmc.models import MINILM

_MODELS = (("teacher", "name"), ("teacher", "checkpoint"), ("student", "name"))
_TABLES = ("train", "validation", "test")
_BLOCK = 1 << 20


def place(config: dict[str, Any]) -> None:
    """Makes paths absolute, in place: the same words in another folder are another run.

    `config["files"]` gets a digest of each file that `task=custom` names, so that changed rows are another run, too.
    """
    config["output_dir"] = absolute(config["output_dir"])
    if config["data"].get("root"):
        config["data"]["root"] = absolute(config["data"]["root"])
    for group, key in _MODELS:
        name = config[group].get(key)
        # Folders go before Hub ids of the same name, as in `models.locate`.
        if name and name != MINILM and os.path.isdir(os.path.expanduser(name)):
            config[group][key] = absolute(name)
    tables = {key: absolute(path) for key in _TABLES if (path := config["task"].get(key))}
    if tables:
        config["task"] |= tables
        config["files"] = {key: digest(path) for key, path in tables.items()}


def absolute(path: str) -> str:
    """The path from the root on, `~` resolved, links kept."""
    return os.path.abspath(os.path.expanduser(str(path)))


def digest(path: str) -> str | None:
    """16 hex digits of a file's content, None where there is no such file."""
    if not os.path.isfile(path):
        return None
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()[:16]
