"""Optimizer groups from the chain, and the learning rate as a function of the update."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from plmc.core.chain import Chain
from plmc.core.clock import Clock
from plmc.core.stage import Stage
from plmc.errors import ConfigError
from plmc.training.objective import Objective


def build_optimizer(objective: Objective, chain: Chain, stage: Stage) -> torch.optim.AdamW:
    """AdamW over the trained parameters; no decay on biases and norms; other options per parameter from
    `chain.groups`."""
    groups: dict[tuple, dict] = {}
    for name, param in objective.named_parameters():
        if not param.requires_grad:
            continue
        options = {"lr": stage.lr, "weight_decay": stage.weight_decay if param.ndim >= 2 else 0.0}
        options |= chain.groups(name.removeprefix("student."), param)
        key = tuple(sorted(options.items()))
        groups.setdefault(key, {"params": [], **options})["params"].append(param)
    if not groups:
        raise ConfigError(f"stage {stage.name}: no parameter is trained.")
    for group in groups.values():
        group["base_lr"] = group["lr"]
    fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in objective.parameters())
    return torch.optim.AdamW(list(groups.values()), betas=(stage.betas[0], stage.betas[1]), eps=stage.eps, fused=fused)


def clip(optimizer: torch.optim.Optimizer, params: Sequence[torch.nn.Parameter], largest: float) -> torch.Tensor:
    """Has the next step use gradients of a joint norm of at most `largest` (0 = as they are); returns the norm they
    have.

    A fused step divides the gradients itself as it reads them, which spares a pass over all of them.
    """
    grads = [param.grad for param in params if param.grad is not None]
    norm = torch.nn.utils.get_total_norm(grads)
    if not largest:
        return norm
    if optimizer.defaults.get("fused"):
        scale: Any = optimizer
        scale.grad_scale = ((norm + 1e-6) / largest).clamp(min=1.0)
    else:
        torch.nn.utils.clip_grads_with_norm_(params, largest, norm)
    return norm


def rate_factor(stage: Stage, clock: Clock) -> Callable[[int], float]:
    """`factor(update)` of the base rate, from the library's schedules; stateless, so nothing needs resuming."""
    from transformers import get_scheduler

    carrier = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    return get_scheduler(stage.schedule, carrier, clock.at(stage.warmup), clock.total).lr_lambdas[0]


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Learning rate of the next update: each group's base rate times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
