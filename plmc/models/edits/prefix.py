"""Deep prompts: keys and values of their own in every layer, which all tokens attend to."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from plmc.errors import ConfigError
from plmc.models import encoder, surgery
from plmc.models.attention import PREFIXED

MARK = "prefix_"
"""The beginning of the names of a prefix's parameters."""


def insert(model: Any, *, length: int, std: float) -> None:
    """Gives the attention of every block `length` keys and values that stand before those of the tokens, in place.

    Both are `(H, length, D)`, drawn from a normal distribution. Tokens keep their positions, and nothing attends from a
    prefix, so hidden states have the shape that they had.

    Raises:
        ConfigError: for a family whose blocks are not known, or whose attention cannot be exchanged.
    """
    model.set_attn_implementation(PREFIXED)
    if model.config._attn_implementation != PREFIXED:
        raise ConfigError(f"{type(model).__name__} computes attention by itself, so it can have no prefix.")
    width = surgery.head_size(model)
    for block, (query, *_) in zip(encoder.layers(model), surgery.attention_linears(model), strict=True):
        module = _attention(block, query)
        for name in ("key", "value"):
            values = torch.empty(query.out_features // width, length, width)
            nn.init.normal_(values, std=std)
            module.register_parameter(MARK + name, nn.Parameter(values))


def _attention(block: nn.Module, query: nn.Linear) -> nn.Module:
    """The module that hands query, key and value to the attention function: the one that has the query's matrix."""
    return next(module for module in block.modules() if any(child is query for child in module.children()))
