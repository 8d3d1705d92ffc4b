"""Names: the nearest right one to a wrong one, keys as they are typed, dotted keys of nested settings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """` Did you mean x?`, or the list of what there is."""
    known = sorted(known)
    close = get_close_matches(wrong, known, n=1, cutoff=0.6)
    return f" Did you mean {close[0]}?" if close else f" There are: {', '.join(known)}."


def as_keys(text: str, fields: Iterable[str], prefix: str) -> str:
    """`text` with `field=` as the key that is typed, `prefix.field=`, so that its hints can be typed."""
    names = "|".join(map(re.escape, sorted(fields, key=len, reverse=True)))
    return re.sub(rf"(?<![\w.=\[])({names})=", rf"{prefix}.\1=", text) if names else text


def dotted(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested config as `{"train.lr": 5e-5, …}`; an empty mapping leaves nothing."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= dotted(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
