"""Linear and Embedding modules that compute as their 8-bit counterparts would."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plmc.core.method import Join
from plmc.methods.quant import fake
from plmc.methods.quant.schemes import Scheme

_SEEN: tuple[tuple[str, Literal["min", "max"]], ...] = (("seen_low", "min"), ("seen_high", "max"))


@dataclass
class Switch:
    """What all modules of a model do: `on` they quantize, `observing` they look at ranges while in training mode.

    Attributes:
        updates: how many updates the running ranges are made of.
    """

    on: bool = False
    observing: bool = True
    updates: int = 0


class Range(nn.Module):
    """Running range of one activation: t <- t - (1 - decay)(t - new) as in Q8BERT (Zafrir et al. 2019), bias-corrected.

    After n updates t is the mean of all n ranges with weights decay^age: the first update sets it, and short runs
    converge, where the plain average with decay 0.9999 would stay at the first batch. A range moves once an update, by
    what all its forwards saw together, so micro-batches change nothing; its forwards use the range of the updates
    before. In the first update there is none, and the activation passes in full precision; in evaluation it has its own
    range.

    `low` and `high` are buffers, so that a saved student keeps its ranges with its weights.
    """

    low: Tensor
    high: Tensor
    seen_low: Tensor
    seen_high: Tensor

    def __init__(self, *, symmetric: bool, decay: float, switch: Switch, device: torch.device):
        super().__init__()
        self.symmetric, self.decay, self.switch = symmetric, decay, switch
        for name, stays in (("low", True), ("high", True), ("seen_low", False), ("seen_high", False)):
            self.register_buffer(name, torch.zeros((), dtype=torch.float32, device=device), persistent=stays)

    def _limits(self, values: Tensor) -> tuple[Tensor, Tensor]:
        low, high = fake.limits(values)
        if self.symmetric:
            high = torch.maximum(-low, high)
            low = -high
        return low, high

    @torch.no_grad()
    def advance(self) -> None:
        """Takes in what the forwards of an update saw; `switch.updates` counts that update already."""
        share = (1 - self.decay) / (1 - self.decay**self.switch.updates)
        for running, seen in ((self.low, self.seen_low), (self.high, self.seen_high)):
            running.add_(share * (seen - running))
            seen.zero_()

    def forward(self, values: Tensor) -> Tensor:
        if self.training and self.switch.observing:
            low, high = self._limits(values)
            # 0 is in every range, so it is also the range of no forward at all.
            self.seen_low.copy_(torch.minimum(self.seen_low, low))
            self.seen_high.copy_(torch.maximum(self.seen_high, high))
        if not self.switch.on or (self.training and not self.switch.updates):
            return values
        low, high = (self.low, self.high) if self.switch.updates else self._limits(values)
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
    input_range: nn.Module
    output_range: nn.Module

    def on_grid(self) -> Tensor:
        """The weight on its grid."""
        return fake.on_signed_grid(self.weight, fake.weight_scale(self.weight, rows=self.rows))

    def forward(self, input: Tensor) -> Tensor:
        weight = self.on_grid() if self.switch.on else self.weight
        found: Tensor = self.output_range(F.linear(self.input_range(input), weight, self.bias))
        return found


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


def sync(model: nn.Module, join: Join) -> None:
    """Makes what the forwards of an update saw in this process what they saw in all."""
    ranges = [module for module in model.modules() if isinstance(module, Range)]
    if ranges:
        for name, how in _SEEN:
            seen = torch.stack([getattr(module, name) for module in ranges])
            join(seen, how)
            for module, value in zip(ranges, seen, strict=True):
                getattr(module, name).copy_(value)


def advance(model: nn.Module, switch: Switch) -> None:
    """Moves all running ranges of `model` by what the forwards of an update saw."""
    switch.updates += 1
    for module in model.modules():
        if isinstance(module, Range):
            module.advance()


def insert(model: nn.Module, names: dict[str, bool], scheme: Scheme, *, decay: float, switch: Switch) -> None:
    """Makes the named Linear and Embedding modules quantize; the flag says whether a Linear's output is quantized.

    The modules stay the same objects with the same parameters under the same names: only their class changes.
    """
    for name, outputs in names.items():
        module: Any = model.get_submodule(name)
        module.switch = switch
        found: nn.Module = module
        if isinstance(found, nn.Embedding):
            module.__class__, module.table = FakeQuantEmbedding, scheme.table
            continue
        module.__class__, module.rows = FakeQuantLinear, scheme.rows
        device = module.weight.device
        for key, wanted in (("input_range", True), ("output_range", outputs)):
            follower: nn.Module
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
            _back(module, nn.Embedding, "table", "switch")
        elif isinstance(module, FakeQuantLinear):
            module.weight.copy_(module.on_grid())
            followed = {"input": module.input_range, "output": module.output_range}
            ranges[name] = {
                key: [float(follower.low), float(follower.high)]
                for key, follower in followed.items()
                if isinstance(follower, Range)
            }
            _back(module, nn.Linear, "input_range", "output_range", "rows", "switch")
    return {name: found for name, found in ranges.items() if found}


def _back(module: Any, cls: type, *names: str) -> None:
    """Gives a module its former class, without the attributes that this one added."""
    module.__class__ = cls
    for name in names:
        delattr(module, name)
