"""What plmc knows of an architecture: everything that takes a model apart asks here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

QUERY, KEY, VALUE, OUTPUT, UP, DOWN = "query", "key", "value", "output", "up", "down"
ATTENTION, GATED = "query_key_value", "gate_up"
"""The roles of the matrices of a block; the last two are several in one."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """An encoder architecture. Names are paths of modules, from the encoder or from a block on.

    Attributes:
        name: for messages and tables.
        types: `model_type` of its configs.
        stack: the list of its blocks, from the encoder on.
        matrices: all Linear modules of a block by their roles; what is not among them is no such block.
        adapters: the modules whose outputs are those of the two halves of a block, before they are added to its input.
        probabilities: dropouts in a block that the config's hidden dropout does not feed.
        width: the config's field for the width of the feed-forward layer.
        language: logits `(N, V)` of its masked language model from last hidden states `(N, D)`.
        heads: heads can be cut out of its attention matrices.
        units: units can be cut out of its feed-forward matrices.
        interface: attention goes through the library's interface: scores can be read, prefixes put before keys.
        first: its first block is of another kind than the others, so it stays.
        head_dropout: the head's dropout is the config's hidden one where no rate of its own is given.
    """

    name: str
    types: tuple[str, ...]
    stack: str = "encoder.layer"
    matrices: Mapping[str, str]
    adapters: tuple[str, str]
    probabilities: tuple[str, ...] = ()
    width: str = "intermediate_size"
    language: Callable[[Any, Any], Any]
    heads: bool = True
    units: bool = True
    interface: bool = True
    first: bool = False
    head_dropout: bool = True
    named: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "named", frozenset(self.matrices.values()))
