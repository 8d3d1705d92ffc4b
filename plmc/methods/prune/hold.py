"""Holding weights at zero by masks that go by parameter name: in gradients, in weights to be judged, in the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

Masks = Mapping[str, Tensor]


def hold_gradients(params: Iterable[nn.Parameter], names: Mapping[int, str], masks: Masks) -> None:
    """Zeroes the gradients under the masks; `names` has the name of each parameter by its `id`."""
    for param in params:
        mask = masks.get(names.get(id(param), ""))
        if mask is not None and param.grad is not None:
            param.grad.mul_(mask)


def held(params: Mapping[str, Tensor], masks: Masks) -> dict[str, Tensor]:
    """`params`, with copies of those that have a mask."""
    return {name: value * masks[name].to(value.device) if name in masks else value for name, value in params.items()}


@torch.no_grad()
def hold(targets: Mapping[str, Tensor], masks: Masks) -> None:
    """Zeroes what is under the masks, in place."""
    for name, mask in masks.items():
        targets[name].masked_fill_(~mask, 0)
