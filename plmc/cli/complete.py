"""Tab completion of overrides, by Hydra's own engine."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path


def complete(before: Sequence[str], incomplete: str) -> list[str]:
    """What could be typed at the cursor, given the words between the verb and it; nothing if they are wrong.

    Bash cuts words at `=` and wants back only what follows it; other shells send and take whole words.
    """
    from hydra import initialize_config_dir
    from hydra._internal.core_plugins.bash_completion import BashCompletion
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException

    from plmc.config.compose import split_words
    from plmc.config.folders import conf_dir, search_path
    from plmc.errors import ConfigError

    words, cut = _joined([*before, "="] if incomplete == "=" else before), ""
    if words and words[-1].endswith("="):
        cut = words.pop()
        incomplete = cut + incomplete.removeprefix("=")
    try:
        inside = _in_list(incomplete)
        inside = _of_methods(incomplete, words) if inside is None else inside
        if inside is not None:
            return [word.removeprefix(cut) for word in inside]
        overrides, extra = split_words([word for word in words if word not in ("-m", "--multirun")])
        path = search_path(extra)
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(conf_dir().resolve()), version_base="1.3"):
            engine = BashCompletion(GlobalHydra.instance().config_loader())
            found = engine._query("train", " ".join([*path, *overrides, incomplete]))
    except (ConfigError, HydraException):
        return []
    return [word.removeprefix(cut) for word in found]


def runs(outputs: Path, incomplete: str) -> list[str]:
    """Finished runs and teachers in `outputs` whose names begin so."""
    from plmc.results.folders import finished

    names = {folder.name for folder in finished(outputs, teachers=True)}
    return sorted(name for name in names if name.startswith(incomplete))


def _in_list(incomplete: str) -> list[str] | None:
    """Methods where the cursor is inside `method=[…`; None elsewhere."""
    from plmc.config.folders import options

    match = re.fullmatch(r"(method=\[(?:[\w]+,)*)(\w*)", incomplete)
    if match is None:
        return None
    taken = match[1].removeprefix("method=[").split(",")
    return [match[1] + name for name in options("method") if name.startswith(match[2]) and name not in taken]


def _of_methods(incomplete: str, words: Sequence[str]) -> list[str] | None:
    """Methods of the composed config behind `methods.`, and a method's fields behind `methods.NAME.`; None
    elsewhere."""
    from hydra.utils import get_class

    from plmc.config.compose import compose, plain

    match = re.fullmatch(r"methods\.(?:(\w+)\.)?(\w*)", incomplete)
    if match is None:
        return None
    config = plain(compose(words))
    there = dict(config["methods"])
    for stage in config["recipe"]["stages"].values():
        there |= (stage or {}).get("methods") or {}
    if match[1] is None:
        return [f"methods.{name}." for name, node in there.items() if node and name.startswith(match[2])]
    target = (there.get(match[1]) or {}).get("_target_")
    fields = dataclasses.fields(get_class(target)) if target else ()
    return [f"methods.{match[1]}.{field.name}=" for field in fields if field.init and field.name.startswith(match[2])]


def _joined(words: Sequence[str]) -> list[str]:
    joined: list[str] = []
    for word in words:
        if joined and (word == "=" or joined[-1].endswith("=")):
            joined[-1] += word
        else:
            joined.append(word)
    return joined
