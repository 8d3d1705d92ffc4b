"""Linear layers with an update of low rank beside their matrix."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LoRALinear(nn.Linear):
    """y = W x + b + (α / r) B A x, with the matrix and the bias of `origin` (shared, not copied).

    Args:
        origin: `(D_out, D_in)`; `merged` gives it back.
        rank: r; A is `(r, D_in)`, drawn uniformly within 1/√D_in (what Kaiming's rule gives for a = √5), B is
            `(D_out, r)` and begins at 0, so that the layer begins as `origin`.
        alpha: α.
        dropout: rate on the x that A reads.
    """

    def __init__(self, origin: nn.Linear, *, rank: int, alpha: float, dropout: float = 0.0):
        nn.Module.__init__(self)
        self.in_features, self.out_features = origin.in_features, origin.out_features
        self.weight, self.bias = origin.weight, origin.bias
        made: dict[str, Any] = {"device": origin.weight.device, "dtype": origin.weight.dtype}
        self.lora_A = nn.Parameter(torch.empty(rank, self.in_features, **made))
        self.lora_B = nn.Parameter(torch.zeros(self.out_features, rank, **made))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self.scale, self.rate = alpha / rank, dropout
        # A tuple keeps it out of the module tree.
        self._origin = (origin,)

    def forward(self, input: Tensor) -> Tensor:
        low = F.linear(F.dropout(input, self.rate, self.training), self.lora_A)
        return F.linear(input, self.weight, self.bias) + F.linear(low, self.lora_B) * self.scale

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The layer without the branch: W + (α / r) B A, in the place of W."""
        (origin,) = self._origin
        self.weight += self.lora_B @ self.lora_A * self.scale
        origin.weight, origin.bias = self.weight, self.bias
        return origin.train(self.training)


def insert(model: nn.Module, names: Iterable[str], *, rank: int, alpha: float, dropout: float) -> None:
    """Puts a `LoRALinear` in the place of each Linear of `names`."""
    for name in names:
        layer = model.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        model.set_submodule(name, LoRALinear(layer, rank=rank, alpha=alpha, dropout=dropout))


def merge(model: nn.Module) -> None:
    """Puts the merged Linear back in the place of every `LoRALinear`."""
    for name, layer in [(name, layer) for name, layer in model.named_modules() if isinstance(layer, LoRALinear)]:
        model.set_submodule(name, layer.merged())
