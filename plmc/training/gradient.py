"""The gradient of an update whose rows several processes share."""

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
    grads = [torch.zeros_like(param) if param.grad is None else param.grad for param in params]
    there = [param.grad is not None for param in params]
    values = [loss.float(), *(terms.get(name, loss.new_zeros(())).float() for name in names)]
    facts = torch.tensor([*there, *(name in terms for name in names)], dtype=torch.float32, device=loss.device)
    flat = torch.cat([*(grad.detach().float().reshape(-1) for grad in grads), torch.stack(values), facts])
    world.join(flat, "sum")
    sizes = [grad.numel() for grad in grads]
    *summed, values_, facts = flat.split([*sizes, len(values), len(facts)])
    known = (facts > 0).tolist()
    for param, whole, some in zip(params, summed, known, strict=False):
        if some:
            whole = whole.view_as(param).to(param.dtype)
            if param.grad is None:
                param.grad = whole.clone()
            else:
                param.grad.copy_(whole)
    found = zip(names, values_[1:], known[len(params) :], strict=True)
    return values_[0].clone(), {name: value.clone() for name, value, some in found if some}
