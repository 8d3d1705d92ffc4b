"""The gradient of a word embedding, kept in one buffer of which only the rows in use are written and zeroed.

torch makes a dense gradient of the whole table for every batch, although a batch uses a few hundred of its tens of
thousands of rows. For a small encoder, whose table is half its weights, zeroing it is a good part of an update.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RowGradient:
    """Lets `module.weight.grad`, (V, d), hold the same sums as with torch's own backward, at the cost of the rows in
    use.

    `zero()` replaces setting the gradient to None. Only for a weight that nothing else uses, and only where nobody
    writes into rows of the gradient that were zero.
    """

    def __init__(self, module: nn.Embedding):
        self.module = module
        self._buffer: Tensor | None = None
        self._used: list[Tensor] = []

    def zero(self) -> None:
        """Zeroes the rows written since the last call; the gradient is None until the next backward."""
        for rows in self._used:
            self._whole().index_fill_(0, rows, 0.0)
        self._used.clear()
        self.module.weight.grad = None

    def add(self, rows: Tensor, values: Tensor) -> None:
        """Adds `values` (n, d) to the distinct `rows` (n,) of the gradient."""
        weight, whole = self.module.weight, self._whole()
        if weight.grad is None:
            weight.grad = whole
        whole.index_add_(0, rows, values)
        self._used.append(rows)

    def _whole(self) -> Tensor:
        if self._buffer is None:
            self._buffer = torch.zeros_like(self.module.weight)
        return self._buffer

    def forward(self, ids: Tensor) -> Tensor:
        """`module(ids)`, whose backward calls `add`."""
        if not (torch.is_grad_enabled() and self.module.weight.requires_grad):
            return F.embedding(ids, self.module.weight, self.module.padding_idx)
        return _Lookup.apply(self.module.weight.detach().requires_grad_(), ids, self)


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, rows: RowGradient) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.rows = rows
        return F.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, None]:
        (ids,) = ctx.saved_tensors
        distinct, place = torch.unique(ids, return_inverse=True)
        sums = torch.ops.aten.embedding_dense_backward(grad.contiguous(), place, len(distinct), -1, False)
        padding = ctx.rows.module.padding_idx
        if padding is not None:
            sums[distinct == padding] = 0.0
        ctx.rows.add(distinct, sums)
        return None, None, None


def word_embedding(model: nn.Module) -> nn.Embedding | None:
    """The table that row gradients suit: a plain word embedding on the CPU, trained, and not tied to an output
    layer."""
    find = getattr(model, "get_input_embeddings", None)
    table = find() if find else None
    if type(table) is not nn.Embedding or table.max_norm is not None or table.sparse or table.scale_grad_by_freq:
        return None
    if table.weight.device.type != "cpu" or not table.weight.requires_grad:
        return None
    holders = [module for module in model.modules() if getattr(module, "weight", None) is table.weight]
    return table if len(holders) == 1 else None


@contextmanager
def row_gradients(model: nn.Module, on: bool = True) -> Iterator[RowGradient | None]:
    """Within it, the word embedding of `model` has a `RowGradient`, which is yielded; None where it does not suit."""
    table = word_embedding(model) if on else None
    if table is None:
        yield None
        return
    rows = RowGradient(table)
    setattr(table, "forward", rows.forward)  # noqa: B010
    try:
        yield rows
    finally:
        del table.forward
