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

_HEADS = (
    ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"),
    ("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"),
)
_UNITS = (("intermediate.dense", "output.dense"), ("ffn.lin1", "ffn.lin2"))


def head_size(model: Any) -> int:
    """Width of an attention head; a cut model's heads are as wide as before."""
    config = model.config
    return config.hidden_size // config.num_attention_heads


def attention_linears(model: Any) -> list[tuple[nn.Linear, ...]]:
    """Query, key, value and output Linear of each block; a head owns rows of the first three, columns of the last."""
    return [_parts(block, _HEADS) for block in encoder.layers(model)]


def feed_forward_linears(model: Any) -> list[tuple[nn.Linear, ...]]:
    """First and second feed-forward Linear of each block; a unit owns a row of the first and a column of the second."""
    return [_parts(block, _UNITS) for block in encoder.layers(model)]


def _parts(block: nn.Module, families: Sequence[tuple[str, ...]]) -> tuple[nn.Linear, ...]:
    named = dict(block.named_modules())
    for family in families:
        if all(isinstance(named.get(name), nn.Linear) for name in family):
            return tuple(named[name] for name in family)
    raise ConfigError(
        f"{type(block).__name__} has no parts that plmc can cut. Use BERT, RoBERTa, DistilBERT or ELECTRA."
    )


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
    heads = [query.out_features // head_size(model) for query, *_ in attention_linears(model)]
    units = [up.out_features for up, _ in feed_forward_linears(model)]
    config, shape = model.config, {}
    if len(set(units)) == 1:
        setattr(config, "hidden_dim" if config.model_type == "distilbert" else "intermediate_size", units[0])
    else:
        shape["intermediate"] = units
    if set(heads) != {config.num_attention_heads}:
        shape["heads"] = heads
    encoder.set_record(config, shape=shape or None)


def reshape(model: Any, shape: dict[str, list[int]]) -> None:
    """Cuts the blocks of a model to a recorded shape; what their weights are plays no part."""
    # Slices, for the weights may have no values yet; the largest shape is that of the library's own fields.
    for (*rows, columns), count in zip(attention_linears(model), shape.get("heads", []), strict=False):
        cut(rows, columns, slice(count * head_size(model)))
    for (up, down), count in zip(feed_forward_linears(model), shape.get("intermediate", []), strict=False):
        cut([up], down, slice(count))
