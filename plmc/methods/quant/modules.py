"""Linear and Embedding modules that compute as their 8-bit counterparts would."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plmc.methods.quant import fake
from plmc.methods.quant.schemes import Scheme


@dataclass
class Switch:
    """What all modules of a model do: `on` they quantize, `observing` they follow ranges while in training mode."""

    on: bool = False
    observing: bool = True


class Range(nn.Module):
    """Running range of one activation: t <- t - (1 - decay)(t - new), the first batch sets it (Zafrir et al. 2019).

    Buffers, so that a saved student keeps its ranges beside its weights: `low`, `high` scalars, `seen` whether there was
    a batch; before it, a batch is quantized by its own range.
    """

    def __init__(self, *, symmetric: bool, decay: float, switch: Switch, device: torch.device):
        super().__init__()
        self.symmetric, self.decay, self.switch = symmetric, decay, switch
        for name in ("low", "high"):
            self.register_buffer(name, torch.zeros((), dtype=torch.float32, device=device))
        self.register_buffer("seen", torch.zeros((), dtype=torch.bool, device=device))

    def forward(self, values: Tensor) -> Tensor:
        low, high = fake.limits(values)
        if self.symmetric:
            high = torch.maximum(-low, high)
            low = -high
        if self.training and self.switch.observing:
            low = torch.where(self.seen, self.low - (1 - self.decay) * (self.low - low), low)
            high = torch.where(self.seen, self.high - (1 - self.decay) * (self.high - high), high)
            self.low.copy_(low)
            self.high.copy_(high)
            self.seen.fill_(True)
        else:
            low, high = torch.where(self.seen, self.low, low), torch.where(self.seen, self.high, high)
        if not self.switch.on:
            return values
        if self.symmetric:
            return fake.on_signed_grid(values, fake.short(high / fake.SIGNED))
        return fake.on_unsigned_grid(values, low, high)


class Dynamic(nn.Module):
    """Quantizes an activation by its own range."""

    def __init__(self, switch: Switch):
        super().__init__()
        self.switch = switch

    def forward(self, values: Tensor) -> Tensor:
        return fake.on_unsigned_grid(values, *fake.limits(values)) if self.switch.on else values


class FakeQuantLinear(nn.Linear):
    """y = Q(x) Q(W)ᵀ + b, and Q(y) where the scheme says so."""

    switch: Switch
    rows: bool

    def on_grid(self) -> Tensor:
        """The weight on its grid."""
        return fake.on_signed_grid(self.weight, fake.weight_scale(self.weight, rows=self.rows))

    def forward(self, input: Tensor) -> Tensor:
        weight = self.on_grid() if self.switch.on else self.weight
        return self.output_range(F.linear(self.input_range(input), weight, self.bias))


class FakeQuantEmbedding(nn.Embedding):
    """Rows of Q(W), one grid for the whole table."""

    switch: Switch
    table: str

    def on_grid(self, values: Tensor | None = None) -> Tensor:
        """`values` (the table's own rows; null: all of them) on the grid of the table."""
        values = self.weight if values is None else values
        if self.table == "affine":
            return fake.on_table_grid(values, *fake.limits(self.weight))
        return fake.on_signed_grid(values, fake.weight_scale(self.weight, rows=False))

    def forward(self, input: Tensor) -> Tensor:
        found = super().forward(input)
        # The rows of a batch are far fewer than those of the table.
        return self.on_grid(found) if self.switch.on else found


def insert(model: nn.Module, names: dict[str, bool], scheme: Scheme, *, decay: float | None, switch: Switch) -> None:
    """Makes the named Linear and Embedding modules quantize; the flag says whether a Linear's output is quantized.

    The modules stay the same objects with the same parameters under the same names: only their class changes.
    """
    for name, outputs in names.items():
        module = model.get_submodule(name)
        module.switch = switch
        if isinstance(module, nn.Embedding):
            module.__class__, module.table = FakeQuantEmbedding, scheme.table
            continue
        module.__class__, module.rows = FakeQuantLinear, scheme.rows
        device = module.weight.device
        for key, wanted in (("input_range", True), ("output_range", outputs)):
            if not wanted:
                follower = nn.Identity()
            elif scheme.activations == "dynamic":
                follower = Dynamic(switch)
            else:
                symmetric = scheme.activations == "symmetric"
                follower = Range(symmetric=symmetric, decay=decay, switch=switch, device=device)
            module.add_module(key, follower.train(module.training))


@torch.no_grad()
def convert(model: nn.Module) -> dict[str, dict[str, list[float]]]:
    """Undoes `insert`, leaves the weights on their grids and returns the ranges: `{module: {"input": [low, high]}}`."""
    ranges: dict[str, dict[str, list[float]]] = {}
    for name, module in model.named_modules():
        if isinstance(module, FakeQuantEmbedding):
            module.weight.copy_(module.on_grid())
            module.__class__ = nn.Embedding
            del module.table, module.switch
        elif isinstance(module, FakeQuantLinear):
            module.weight.copy_(module.on_grid())
            followed = {"input": module.input_range, "output": module.output_range}
            ranges[name] = {
                key: [float(follower.low), float(follower.high)]
                for key, follower in followed.items()
                if isinstance(follower, Range)
            }
            module.__class__ = nn.Linear
            del module.input_range, module.output_range, module.rows, module.switch
    return {name: found for name, found in ranges.items() if found}
