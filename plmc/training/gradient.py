"""Gradients of an update: dense or of some rows, of one process or of several that share its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from plmc.world import World


def add_up(
    params: Sequence[nn.Parameter], loss: Tensor, terms: Mapping[str, Tensor], names: Sequence[str], *, world: World
) -> tuple[Tensor, dict[str, Tensor]]:
    """Makes of each process's gradients those of the whole update, in place; returns its loss and terms.

    All of it is one sum over the processes. A parameter that no process has a gradient of keeps none, so the optimizer
    leaves it alone; one that some process lacks gets the others'.

    Args:
        params: of the same shapes in all processes.
        loss: of this process's rows, times their share of the update.
        terms: likewise; some process may lack some.
        names: those that there can be.
    """
    grads = [torch.zeros_like(param) if param.grad is None else _dense(param.grad) for param in params]
    there = [param.grad is not None for param in params]
    sparse = [param.grad is not None and param.grad.is_sparse for param in params]
    values = [loss.float(), *(terms.get(name, loss.new_zeros(())).float() for name in names)]
    told = [*there, *sparse, *(name in terms for name in names)]
    facts = torch.tensor(told, dtype=torch.float32, device=loss.device)
    flat = torch.cat([*(grad.detach().float().reshape(-1) for grad in grads), torch.stack(values), facts])
    world.join(flat, "sum")
    sizes = [grad.numel() for grad in grads]
    *summed, values_, facts = flat.split([*sizes, len(values), len(facts)])
    known = (facts > 0).tolist()
    there, sparse, known = known[: len(params)], known[len(params) : 2 * len(params)], known[2 * len(params) :]
    for param, whole, some, rows in zip(params, summed, there, sparse, strict=True):
        if some:
            whole = whole.view_as(param).to(param.dtype)
            if rows:
                param.grad = whole.to_sparse(1)
            elif param.grad is None:
                param.grad = whole.clone()
            else:
                param.grad.copy_(whole)
    found = zip(names, values_[1:], known, strict=True)
    return values_[0].clone(), {name: value.clone() for name, value, some in found if some}


def numbers(grad: Tensor) -> Tensor:
    """The numbers of a gradient, a view; of a sparse one those of its rows."""
    return grad._values() if grad.is_sparse else grad


def _dense(grad: Tensor) -> Tensor:
    return grad.to_dense() if grad.is_sparse else grad
