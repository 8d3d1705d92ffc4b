"""The record of a model's edits, and the class of models that have them.

`config.plmc["edits"]` lists every edit with its arguments, in the order in which they were made. A model that is built
from such a config makes them again, so its file's tensors find their places. The shape of blocks that were cut
(`config.plmc["shape"]`) comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from plmc.errors import ConfigError
from plmc.models import encoder, surgery
from plmc.models.attention import OWN, PREFIXED
from plmc.models.edits import adapters, prefix

EDITS: Mapping[str, Callable[..., None]] = {"adapters": adapters.insert, "prefix": prefix.insert}


def edits(config: Any) -> list[dict[str, Any]]:
    """The edits of a model, each with its `name` and its arguments."""
    return list(encoder.record(config).get("edits", []))


def edit(model: Any, name: str, **arguments: Any) -> Any:
    """Makes an edit of `EDITS` and writes it down; nothing changes if the model has that very one. In place.

    Raises:
        ConfigError: if the model has an edit of this name with other arguments.
    """
    for made in edits(model.config):
        if made == {"name": name, **arguments}:
            return model
        if made["name"] == name:
            has = ", ".join(f"{key}={value}" for key, value in made.items() if key != "name")
            raise ConfigError(f"the model has {name} already ({has}). Give the method the same settings.")
    EDITS[name](model, **arguments)
    encoder.set_record(model.config, edits=[*edits(model.config), {"name": name, **arguments}])
    model.__class__ = edited(type(model), model.config)
    return model


def edited(kind: Any, config: Any) -> Any:
    """`kind`, an auto class or a model class, or where `config` says so a class whose instances are cut and edited."""
    if not (encoder.record(config).get("shape") or edits(config)):
        return kind
    mapping = getattr(kind, "_model_mapping", None)
    return _edited(kind if mapping is None else mapping[type(config)])


@cache
def _edited(plain: Any) -> Any:
    if getattr(plain, "plmc_edited", False):
        return plain

    class Edited(plain):
        plmc_edited = True

        def __init__(self, config: Any, *args: Any, **kwargs: Any):
            super().__init__(config, *args, **kwargs)
            if shape := encoder.record(config).get("shape"):
                surgery.reshape(self, shape)
            for made in edits(config):
                arguments = {key: value for key, value in made.items() if key != "name"}
                if made["name"] not in EDITS:
                    raise ConfigError(f"this model has {made['name']}, which this version of plmc does not know.")
                EDITS[made["name"]](self, **arguments)

        def set_attn_implementation(self, attn_implementation: Any, *args: Any, **kwargs: Any) -> None:
            # With another function a prefix would be left out without a word.
            if any(made["name"] == "prefix" for made in edits(self.config)) and attn_implementation not in OWN:
                attn_implementation = PREFIXED
            super().set_attn_implementation(attn_implementation, *args, **kwargs)

    # The name is what save_pretrained writes as the architecture.
    Edited.__name__, Edited.__qualname__, Edited.__module__ = plain.__name__, plain.__qualname__, plain.__module__
    return Edited
