"""Bottleneck adapters behind the two halves of every block."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import ACT2FN

from plmc.errors import ConfigError
from plmc.models import encoder
from plmc.models.families.find import USE, of

MARK = "adapter_"
"""The beginning of the names of an adapter's parameters."""


def insert(model: nn.Module, *, size: int, activation: str, after: Literal["both", "feed_forward"], std: float) -> None:
    """Puts an adapter into every block, in place: h becomes h + U f(D h + a) + b, before the residual connection.

    No module is added or renamed: an adapter is four parameters of a module that is there, whose output it changes. So
    what finds matrices, dropouts and blocks finds the same ones as before.

    Args:
        size: d, the rows of D `(d, k)` and the columns of U `(k, d)`, for blocks of width k.
        activation: f, as transformers names it.
        after: one adapter after each half of the block, or one after the feed-forward layer.
        std: of the normal distribution that D and U are drawn from, cut off at two; a and b begin at 0.

    Raises:
        ConfigError: for a family whose blocks are not known.
    """
    config: Any = model.config
    family = of(model)
    if family is None:
        raise ConfigError(f"{type(model).__name__} has no place for adapters that plmc knows. {USE}")
    for block in encoder.layers(model):
        for name in family.adapters if after == "both" else family.adapters[1:]:
            _adapt(block.get_submodule(name), config.hidden_size, size, activation, std)


def _adapt(module: Any, width: int, size: int, activation: str, std: float) -> None:
    shapes = {"down": (size, width), "down_bias": (size,), "up": (width, size), "up_bias": (width,)}
    for name, shape in shapes.items():
        value = torch.zeros(shape)
        if len(shape) == 2:
            nn.init.trunc_normal_(value, std=std, a=-2 * std, b=2 * std)
        module.register_parameter(MARK + name, nn.Parameter(value))
    module.adapter_activation = activation
    kind: Any = type(module)
    module.__class__ = _adapted(kind)


@cache
def _adapted(cls: Any) -> Any:
    """The class of a module with an adapter: what `cls` returns, its first tensor changed."""

    class Adapted(cls):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            output = super().forward(*args, **kwargs)
            if isinstance(output, tuple):
                return (self.adapted(output[0]), *output[1:])
            return self.adapted(output)

        def adapted(self, hidden: Tensor) -> Tensor:
            inner = ACT2FN[self.adapter_activation](F.linear(hidden, self.adapter_down, self.adapter_down_bias))
            return hidden + F.linear(inner, self.adapter_up, self.adapter_up_bias)

    Adapted.__name__, Adapted.__qualname__ = f"Adapted{cls.__name__}", f"Adapted{cls.__name__}"
    return Adapted


def count(width: int, size: int) -> int:
    """The parameters of one adapter."""
    return 2 * width * size + width + size
