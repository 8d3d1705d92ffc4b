"""Names for arms that tell them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from plmc.names import dotted
from plmc.results.find import Arm

LONGEST = 24
"""Characters of a config value that a name shows."""


def arm_labels(arms: Sequence[Arm]) -> list[str]:
    """The label of each arm; equal labels get the config values, as few as needed, in which their arms differ."""
    names = [arm.first.label for arm in arms]
    for label in {name for name in names if names.count(name) > 1}:
        same = [i for i, name in enumerate(names) if name == label]
        for i, difference in zip(same, _differences([arms[i] for i in same]), strict=True):
            names[i] = f"{label} ({difference})" if difference else label
    return names


def _differences(arms: Sequence[Arm]) -> list[str]:
    flat = [dotted(arm.first.identity) for arm in arms]
    keys = {key for config in flat for key in config}
    differing = [key for key in keys if len({str(config.get(key)) for config in flat}) > 1]
    chosen: list[str] = []
    # Short keys first: they are what was typed; the long ones below recipe.stages only follow from them.
    for key in sorted(differing, key=lambda key: (key.count("."), len(key), key)):
        if _kinds(flat, [*chosen, key]) > _kinds(flat, chosen):
            chosen.append(key)
        if _kinds(flat, chosen) == len(arms):
            break
    return [", ".join(f"{key}={_short(config.get(key))}" for key in chosen) for config in flat]


def _kinds(configs: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> int:
    return len({tuple(str(config.get(key)) for key in keys) for config in configs})


def _short(value: Any) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def model_label(name: str) -> str:
    """A model's name without its folders; Hub ids stay whole."""
    return name if name.count("/") <= 1 and not name.startswith((".", "/", "~")) else PurePath(name).name
