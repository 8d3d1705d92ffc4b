"""Blocks with fewer attention heads and feed-forward units: cutting them, and loading a model that was cut.

Feed-forward width that is the same in all blocks is a field of the library's configs. The number of heads is not: the
library derives the size of a head from it. So a cut model says its shape in `config.plmc["shape"]`, and
`plmc.models.edits.record` builds the model class that has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from plmc.errors import ConfigError
from plmc.models import encoder
from plmc.models.families.base import DOWN, KEY, OUTPUT, QUERY, UP, VALUE
from plmc.models.families.find import of, those_with


def head_size(model: Any) -> int:
    """Width of an attention head; a cut model's heads are as wide as before."""
    config = model.config
    return config.hidden_size // config.num_attention_heads


def attention_linears(model: Any) -> list[tuple[nn.Linear, ...]]:
    """Query, key, value and output Linear of each block; a head owns rows of the first three, columns of the last.

    Raises ConfigError for a family whose heads are not cut.
    """
    return _parts(model, "heads", (QUERY, KEY, VALUE, OUTPUT))


def feed_forward_linears(model: Any) -> list[tuple[nn.Linear, ...]]:
    """First and second feed-forward Linear of each block; a unit owns a row of the first and a column of the second.

    Raises ConfigError for a family whose units are not cut.
    """
    return _parts(model, "units", (UP, DOWN))


def _parts(model: Any, what: str, wanted: Sequence[str]) -> list[tuple[nn.Linear, ...]]:
    family = of(model)
    if family is None or not getattr(family, what):
        raise ConfigError(f"{type(model).__name__} has no {what} that plmc can cut. {those_with(what)}")
    return [tuple(block[role][1] for role in wanted) for block in encoder.roles(model)]


@torch.no_grad()
def cut(rows: Sequence[nn.Linear], columns: nn.Linear, kept: Tensor | slice) -> None:
    """Keeps the rows and columns that `kept`, a bool vector or a slice, selects; in place."""
    for linear in rows:
        linear.weight = nn.Parameter(linear.weight[kept].clone(), linear.weight.requires_grad)
        if linear.bias is not None:
            linear.bias = nn.Parameter(linear.bias[kept].clone(), linear.bias.requires_grad)
        linear.out_features = len(linear.weight)
    columns.weight = nn.Parameter(columns.weight[:, kept].clone(), columns.weight.requires_grad)
    columns.in_features = columns.weight.shape[1]


def note(model: Any) -> None:
    """Writes the shape of the blocks into the config: the library's field where it has one, else plmc's."""
    config, shape, family = model.config, {}, of(model)
    units = [up.out_features for up, _ in feed_forward_linears(model)] if family and family.units else []
    if len(set(units)) == 1:
        setattr(config, encoder.width_field(config), units[0])
    elif units:
        shape["intermediate"] = units
    heads = (
        [query.out_features // head_size(model) for query, *_ in attention_linears(model)]
        if family and family.heads
        else []
    )
    if heads and set(heads) != {config.num_attention_heads}:
        shape["heads"] = heads
    encoder.set_record(config, shape=shape or None)


def reshape(model: Any, shape: dict[str, list[int]]) -> None:
    """Cuts the blocks of a model to a recorded shape; what their weights are plays no part."""
    # Slices, for the weights may have no values yet; the largest shape is that of the library's own fields.
    if "heads" in shape:
        for (*rows, columns), count in zip(attention_linears(model), shape["heads"], strict=True):
            cut(rows, columns, slice(count * head_size(model)))
    if "intermediate" in shape:
        for (up, down), count in zip(feed_forward_linears(model), shape["intermediate"], strict=True):
            cut([up], down, slice(count))
