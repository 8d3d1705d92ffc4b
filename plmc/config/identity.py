"""What a run is, apart from where its files and plmc's modules are: settings as plain values, hashed into its folder's
name.

Part of it are the names of classes and all their fields, the content of files and the seed. Not part of it are import
paths, the places of files, and fields that were added later as long as they mean what was done before
(`plmc.core.fields.Added`); fields that are gone count with their last default (`former`). So neither a module that
moves nor a data set that moves makes another run out of a command.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from plmc.config.paths import digest, folder_digest
from plmc.core.fields import added


def hashed(value: Any) -> str:
    """10 hex digits of `plain(value)`."""
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()[:10]


def plain(value: Any) -> Any:
    """A value of a config, or an object built from it, as what JSON knows.

    An object becomes `{"": "package:Class", field: value, …}` with every field that its constructor takes, defaults
    too; a mapping of objects (methods by name) a list of pairs, as their order counts. A path of a file or a model
    becomes a digest of its content. 4.0 is 4. Raises TypeError for what has no such form.
    """
    if is_dataclass(value) and not isinstance(value, type):
        cls = type(value)
        later = added(cls)
        named = {entry.name: getattr(value, entry.name) for entry in fields(cls) if entry.init}
        kept = {key: plain(each) for key, each in named.items() if key not in later or each != later[key]}
        former = getattr(cls, "former", {})  # fields that are gone
        return {"": f"{cls.__module__.partition('.')[0]}:{cls.__name__}", **plain(former), **kept}
    if isinstance(value, Mapping):
        if any(is_dataclass(each) for each in value.values()):
            return [[str(key), plain(each)] for key, each in value.items()]
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        return _content(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    raise TypeError(f"{type(value).__name__} {value!r} cannot be part of a run's identity")


def _content(text: str) -> str:
    if not os.path.isabs(text):
        return text
    if os.path.isdir(text):
        return f"folder {folder_digest(text)}"
    return f"file {digest(text)}" if os.path.isfile(text) else text
