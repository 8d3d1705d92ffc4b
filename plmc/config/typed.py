"""Settings reached by short words: a method of a recipe by its name, a stage's field that the recipe leaves out,
`epochs`.

`methods.kd.temperature=4` is one word wherever the method is: in the recipe, or added by `method=[…]`. Which of the two
it is can be told only when all is composed, so the words wait in the config under `typed` until then.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from plmc.config.folders import options
from plmc.errors import ConfigError
from plmc.names import did_you_mean

_METHOD = re.compile(r"^(?:\+{0,2})methods\.([\w-]+)((?:\.[^=]*)?=)", re.DOTALL)
_STAGE = re.compile(r"^recipe\.stages\.([\w-]+)\.([\w-]+)((?:\.[\w-]+)*)=")
_REVISION = re.compile(r"^((?:student|teacher|data)\.revision=)")  # in no file: a run without it keeps its identity
_OURS = "++typed."


def reach(words: Sequence[str]) -> list[str]:
    """The words as Hydra is to see them: keys that are in no file are added, typed fields of methods are kept apart."""
    return [_METHOD.sub(rf"{_OURS}\1\2", _STAGE.sub(_added, _REVISION.sub(r"++\1", word))) for word in words]


def as_typed(text: str) -> str:
    """The inverse of `reach` in a message or a name."""
    return text.replace(_OURS, "methods.").replace("++recipe.stages.", "recipe.stages.").replace("typed.", "methods.")


def laid(config: Any) -> Any:
    """The composed DictConfig with typed fields where other fields may refer to them (`end: ${.begin}`)."""
    from omegaconf import OmegaConf

    for name, fields in (config.get("typed") or {}).items():
        stages = (config.get("recipe") or {}).get("stages") or {}
        found = [(stage.get("methods") or {}).get(name) for stage in stages.values() if OmegaConf.is_dict(stage)]
        nodes: list[Any] = [node for node in found if node is not None]
        added: Any = (config.get("methods") or {}).get(name)
        if OmegaConf.is_dict(fields):
            for node in [added] if added is not None else nodes if len(nodes) == 1 else []:
                for key, value in fields.items():
                    OmegaConf.update(node, key, value, force_add=True)
    return config


def _added(match: re.Match) -> str:
    from plmc.core.stage import Stage

    field, below = match[2], match[3]
    known = field in Stage.__dataclass_fields__ and field not in ("name", "methods")
    return f"++{match[0]}" if known or (field == "methods" and below.count(".") > 1) else match[0]


def settle(config: dict[str, Any], names: Sequence[str]) -> None:
    """Puts typed fields where they belong, in place;

    Raises ConfigError for a method that is in no stage or in several of them, and for a stage that is not there.

    Args:
        names: the stages that the task leaves, in order.
    """
    stages = config["recipe"]["stages"]
    strange = [name for name in names if not isinstance(stages[name], Mapping) or "methods" not in stages[name]]
    if strange:
        there = [name for name in names if name not in strange]
        raise ConfigError(f"recipe.stages has no key {strange[0]}.{did_you_mean(strange[0], there)}")
    if (epochs := config.pop("epochs", None)) is not None:
        stages[names[-1]] |= {"epochs": epochs, "steps": None}
    typed, methods = config.pop("typed", None) or {}, config["methods"]
    for name in dict.fromkeys([*methods, *typed]):
        node, words = methods.get(name), typed.get(name, {})
        holders = [stage for stage in names if (stages[stage]["methods"] or {}).get(name) is not None]
        if isinstance(node, Mapping) and "_target_" in node:
            place = _place(node, names)
            if place not in holders:
                methods[name] = _laid(node, words)
                continue
            # The recipe has the method already: naming it again changes nothing but what was set with it.
            holders, words = [place], _laid(_changed(name, node), words)
        elif name in methods:
            words = _laid(node, words)
        holder = _only(name, holders, words, config)
        there = stages[holder]["methods"]
        there[name] = None if words is None else _laid(there[name], words)
        methods.pop(name, None)


def _only(name: str, holders: Sequence[str], words: Any, config: Mapping[str, Any]) -> str:
    field = "".join(f".{key}" for key in list(words)[:1]) if isinstance(words, Mapping) else ""
    if len(holders) == 1:
        return holders[0]
    if holders:
        value = f"={words[field[1:]]}" if field else "=null"
        long = " or ".join(f"recipe.stages.{stage}.methods.{name}{field}{value}" for stage in holders)
        raise ConfigError(f"methods.{name}{field}: {len(holders)} stages have a method {name}. Name the one: {long}")
    stages = config["recipe"]["stages"]
    known = {key for stage in stages.values() if stage for key in stage.get("methods") or {}}
    if name in options("method"):
        hint = f" Add it: method=[{name}]"
    else:
        hint = did_you_mean(name, {*known, *options("method")})
    raise ConfigError(f"methods.{name}{field}: method {name} is not part of this run.{hint}")


def _place(node: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The stage that an added method is put into; None if its class cannot be imported, which is said when it is
    built."""
    from hydra.utils import get_class

    try:
        first = getattr(get_class(node["_target_"]), "place") == "first"  # noqa: B009
    except Exception:  # a wrong import path raises whatever the import raises
        return None
    return names[0] if first else names[-1]


def _changed(name: str, node: Mapping[str, Any]) -> dict[str, Any]:
    """The fields by which a method's node differs from the file it comes from, as a preset or Python code may set
    them."""
    import yaml

    path = options("method").get(name)
    if path is None:
        return {key: value for key, value in node.items() if key != "_target_"}
    shipped = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    open_ = {key for key, value in shipped.items() if "${" in str(value)}
    return {k: v for k, v in node.items() if k not in open_ and (k not in shipped or str(shipped[k]) != str(v))}


def _laid(below: Any, above: Any) -> Any:
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        return {**below, **{key: _laid(below.get(key), value) for key, value in above.items()}}
    return above
