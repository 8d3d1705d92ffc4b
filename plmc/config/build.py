"""From a node of a config with `_target_` to the object that it describes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from plmc.core.fields import verify
from plmc.errors import ConfigError, PlmcError
from plmc.names import as_keys


def build(node: Any, where: str) -> Any:
    """The object a config node describes with `_target_`; errors name the key and the nearest right one."""
    from hydra.errors import InstantiationException
    from hydra.utils import get_class, instantiate

    if not isinstance(node, Mapping) or "_target_" not in node:
        raise ConfigError(f"{where} has no _target_: it must name the class it configures.")
    try:
        cls = get_class(node["_target_"])
    except Exception as error:  # a wrong import path raises whatever the import raises
        raise ConfigError(f"{where}._target_={node['_target_']} cannot be imported: {error}") from error
    verify(cls, node, where)
    try:
        return instantiate(dict(node), _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, PlmcError):
            # An error keeps its class: a task that reads its files may raise a DataError.
            typed = re.sub(r"^recipe\.stages\.\w+\.(?=methods\.)", "", where)
            text = as_keys(str(cause), getattr(cls, "__dataclass_fields__", ()), typed)
            raise type(cause)(f"{where}: {text}") from error
        text = str(cause or error).splitlines()[0]
        raise ConfigError(f"{where}: {text}") from error
