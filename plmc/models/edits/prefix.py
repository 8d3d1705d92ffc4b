"""Deep prompts: keys and values of their own in every layer, which all tokens attend to."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from plmc.errors import ConfigError
from plmc.models import encoder, surgery
from plmc.models.attention import PREFIXED
from plmc.models.families.base import ATTENTION
from plmc.models.families.find import of, those_with

MARK = "prefix_"
"""The beginning of the names of a prefix's parameters."""


def insert(model: Any, *, length: int, std: float) -> None:
    """Gives the attention of every block `length` keys and values that stand before those of the tokens, in place.

    Both are `(H, length, D)`, drawn from a normal distribution. Tokens keep their positions, and nothing attends from a
    prefix, so hidden states have the shape that they had.

    Raises:
        ConfigError: for a family whose blocks are not known, or whose attention cannot be exchanged.
    """
    family = of(model)
    if family is None or not family.interface:
        raise ConfigError(
            f"{type(model).__name__} computes attention by itself, so it can have no prefix. {those_with('interface')}"
        )
    model.set_attn_implementation(PREFIXED)
    width = surgery.head_size(model)
    for block, matrices in zip(encoder.layers(model), encoder.roles(model), strict=True):
        # ModernBERT has query, key and value in one matrix.
        _, first = next(iter(matrices.values()))
        heads = first.out_features // width // (3 if ATTENTION in matrices else 1)
        module = _attention(block, first)
        for name in ("key", "value"):
            values = torch.empty(heads, length, width)
            nn.init.normal_(values, std=std)
            module.register_parameter(MARK + name, nn.Parameter(values))


def _attention(block: nn.Module, first: nn.Linear) -> nn.Module:
    """The module that hands query, key and value to the attention function: the one that has their matrices."""
    return next(module for module in block.modules() if any(child is first for child in module.children()))
