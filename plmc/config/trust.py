"""Configs that come with a folder: they may name classes of plmc, and of packages that the user allows, and nothing
else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

from plmc.config.packages import config_folders
from plmc.core.fields import Checked
from plmc.errors import ConfigError

_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


def check_config(config: Any, where: str, allowed: Sequence[str] = ()) -> None:
    """Raises ConfigError if `config` could run code other than that of plmc's own classes.

    Looks at the whole config before anything is imported.

    Args:
        allowed: packages that the user names on the command line.
    """
    if not isinstance(config, Mapping):
        raise ConfigError(f"{where} holds no settings. Is it the config.yaml of a run?")
    targets = list(_targets(config, "", where))
    for key, target in targets:
        package = target.split(".", 1)[0]
        # Who installs a package that registers configs trusts its classes.
        if package != "plmc" and package not in allowed and package not in config_folders():
            raise ConfigError(
                f"{where}: {key}={target} is not a class of plmc, and loading it runs code of the package {package}. "
                f"If you trust that package, add --allow {package}"
            )
    for key, target in targets:
        _check_class(key, target, where)


def _targets(node: Any, key: str, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping):
        for name, value in node.items():
            path = f"{key}.{name}" if key else str(name)
            if name == "_target_":
                if not isinstance(value, str) or not _TARGET.fullmatch(value):
                    raise ConfigError(f"{where}: {path} must be the path of a class.")
                yield path, value
            elif not isinstance(name, str) or name.startswith("_"):
                raise ConfigError(f"{where}: {path} is a key that plmc does not write into a config. Remove it.")
            else:
                yield from _targets(value, path, where)
    elif isinstance(node, (list, tuple)):
        for number, value in enumerate(node):
            yield from _targets(value, f"{key}[{number}]", where)
    elif isinstance(node, str) and "${" in node:
        raise ConfigError(
            f"{where}: {key} holds an interpolation (${{…}}), which plmc does not write. Put the value there."
        )


def _check_class(key: str, target: str, where: str) -> None:
    module, name = target.rsplit(".", 1)
    try:
        found = vars(import_module(module)).get(name)
    except ImportError as error:
        raise ConfigError(f"{where}: {key}={target} cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Checked)):
        raise ConfigError(f"{where}: {key}={target} is no method, task, source or model of plmc.")
