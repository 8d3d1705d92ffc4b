"""Quantization as pure functions: scales, integers, and their float image with a straight-through gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

SIGNED, UNSIGNED = 127, 255


def short(scale: Tensor) -> Tensor:
    """`scale` rounded to 16 significant bits; 1 where it is 0.

    A float32 holds 24 bits, so integer x scale is exact for integers of 8 bits. A value on a grid then has exactly that
    scale and those very integers when it is quantized again.
    """
    bits = scale.float().contiguous().view(torch.int32)
    rounded = ((bits + 0x80) & ~0xFF).view(torch.float32)
    return torch.where(rounded > 0, rounded, torch.ones_like(rounded))


def weight_scale(weight: Tensor, *, rows: bool) -> Tensor:
    """s = max|w| / 127, `(rows, 1)` with one scale a row of a `(rows, columns)` weight, else a scalar."""
    size = weight.detach().abs()
    return short((size.amax(dim=1, keepdim=True) if rows else size.max()) / SIGNED)


def signed(values: Tensor, scale: Tensor) -> Tensor:
    """Integers clamp(round(x / s), -127, 127), as floats."""
    return (values / scale).round().clamp(-SIGNED, SIGNED)


def limits(values: Tensor) -> tuple[Tensor, Tensor]:
    """Least and largest value, 0 included: an affine grid must hold it."""
    low, high = values.detach().float().aminmax()
    return low.clamp(max=0), high.clamp(min=0)


def affine_grid(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Scale s = (high - low) / 255 and zero point z = round(-low / s) of the uint8 grid over [low, high]."""
    scale = (high - low) / UNSIGNED
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    return scale, (-low / scale).round().clamp(0, UNSIGNED)


def unsigned(values: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """Integers clamp(round(x / s) + z, 0, 255), as floats."""
    return ((values / scale).round() + zero).clamp(0, UNSIGNED)


def on_signed_grid(values: Tensor, scale: Tensor) -> Tensor:
    """Q(x) = s clamp(round(x / s), -127, 127), of the type of `values`; dQ/dx = 1 everywhere."""
    return straight_through(values, signed(values.detach().float(), scale) * scale)


def on_unsigned_grid(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Q(x) = s (q - z) on the uint8 grid over [low, high]; dQ/dx = 1 everywhere."""
    scale, zero = affine_grid(low, high)
    return straight_through(values, (unsigned(values.detach().float(), scale, zero) - zero) * scale)


def on_table_grid(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """`on_unsigned_grid` for parts of a table with extremes `low` and `high`; these lie on the ends of the grid.

    So the table as a whole has the same grid when it is quantized again.
    """
    scale, zero = affine_grid(low, high)
    scale = short(scale)
    zero = (-low / scale).round().clamp(0, UNSIGNED)
    exact = values.detach().float()
    integers = unsigned(exact, scale, zero)
    # With both ends halfway between integers, one of the two would else round inwards.
    integers = torch.where((exact == high) & (high > 0), torch.full_like(integers, UNSIGNED), integers)
    return straight_through(values, (integers - zero) * scale)


def straight_through(values: Tensor, rounded: Tensor) -> Tensor:
    """`rounded` forward, the gradient of `values` backward (clipped values included: Zafrir et al. 2019)."""
    return _StraightThrough.apply(values, rounded.to(values.dtype))


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, rounded: Tensor) -> Tensor:
        return rounded.view_as(rounded)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None
