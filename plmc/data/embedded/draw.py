"""Drawing rows: balanced labels, no text twice, and content combinations that belong to one split only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any
from zlib import crc32

from plmc.errors import ConfigError

# 12 of 20 combinations are for training, 4 each for validation and test.
_BUCKETS = {"train": range(0, 12), "validation": range(12, 16), "test": range(16, 20)}
_PATIENCE = 400
"""Draws in a row that yield nothing new before the world counts as exhausted."""


@dataclass(frozen=True)
class Row:
    """One generated row; `key` names the combination of contents that decides its split.

    The texts determine the key: a key of anything they do not mention would let one text into two splits.
    """

    key: str
    columns: dict[str, Any]


Maker = Callable[[Random, int], Row]
"""Makes one row with the given label (class id, or grade of similarity)."""


def labels(rng: Random, count: int, of: int) -> Iterator[int]:
    """`count` labels in random order; each class within one of its share."""
    deck: list[int] = []
    for _ in range(count):
        if not deck:
            deck = rng.sample(range(of), of)
        yield deck.pop()


def draw(make: Maker, *, classes: int, count: int, seed: int, stream: str, role: str) -> dict[str, list[Any]]:
    """Columns of `count` different rows, with `id` 0 to count - 1.

    `stream` names the sequence of random numbers, so a shorter split is a prefix of a longer one; `role` (`train`,
    `validation`, `test`) is the share of the content combinations to draw from. Raises ConfigError when the world does
    not hold that many different rows.
    """
    rng = Random(f"{seed}/{stream}")
    seen: set[Any] = set()
    rows: list[Any] = []
    for label in labels(Random(f"{seed}/{stream}/labels"), count, classes):
        for _ in range(_PATIENCE):
            row = make(rng, label)
            text = (row.columns["text_a"], row.columns.get("text_b"))
            if text not in seen and crc32(f"{seed}/{row.key}".encode()) % 20 in _BUCKETS[role]:
                break
        else:
            raise ConfigError(
                f"the embedded world holds about {len(rows)} different rows of {stream}, not {count}. "
                f"Set data.{role}_rows={len(rows) // 100 * 100 or len(rows)} or less."
            )
        seen.add(text)
        rows.append({"id": len(rows), **row.columns})
    return {name: [row[name] for row in rows] for name in rows[0]}
