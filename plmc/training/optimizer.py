"""Optimizer groups from the chain, and the learning rate as a function of the update."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from plmc.core.chain import Chain
from plmc.core.clock import Clock
from plmc.core.stage import Stage
from plmc.errors import ConfigError
from plmc.training.gradient import numbers
from plmc.training.objective import Objective

MAKERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "sparse_adam": torch.optim.SparseAdam,
}
"""What `Method.groups` may name as `optimizer`: `sgd` with `momentum`; `sparse_adam` for tables with sparse gradients,
whose moments move with the rows in use."""
OPTIONS = {
    "adamw": {"betas", "eps", "weight_decay"},
    "sgd": {"momentum", "weight_decay"},
    "sparse_adam": {"betas", "eps"},
}


class Optimizers:
    """Several optimizers that step together, by name; each has the parameters whose group names it."""

    def __init__(self, parts: Mapping[str, torch.optim.Optimizer]):
        self.parts = dict(parts)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all."""
        return [group for part in self.parts.values() for group in part.param_groups]

    def zero_grad(self, *, set_to_none: bool = True) -> None:
        """Forgets the gradients."""
        for part in self.parts.values():
            part.zero_grad(set_to_none=set_to_none)

    def step(self) -> None:
        """One step of each."""
        for part in self.parts.values():
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Of each; of AdamW alone what it says itself."""
        states = {name: part.state_dict() for name, part in self.parts.items()}
        return states["adamw"] if states.keys() == {"adamw"} else states

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        states = {"adamw": state} if self.parts.keys() == {"adamw"} else state
        for name, part in self.parts.items():
            part.load_state_dict(states[name])


def build_optimizer(objective: Objective, chain: Chain, stage: Stage) -> Optimizers:
    """AdamW over the trained parameters; no decay on biases and norms; other options per parameter, another optimizer
    among them, from `chain.groups`."""
    groups: dict[str, dict[tuple, dict]] = {}
    for name, param in objective.named_parameters():
        if not param.requires_grad:
            continue
        told = chain.groups(name.removeprefix("student."), param)
        maker = told.pop("optimizer", "adamw")
        if maker not in MAKERS:
            raise ConfigError(
                f"stage {stage.name}: a method asks for the optimizer {maker}; there are {', '.join(MAKERS)}."
            )
        given = {"weight_decay": stage.weight_decay if param.ndim >= 2 else 0.0}
        options = {"lr": stage.lr, **{key: value for key, value in given.items() if key in OPTIONS[maker]}, **told}
        if unknown := options.keys() - OPTIONS[maker] - {"lr"}:
            raise ConfigError(
                f"stage {stage.name}: {maker} has no option {min(unknown)}, which a method sets for {name}. It has "
                f"{', '.join(sorted(OPTIONS[maker] | {'lr'}))}."
            )
        key = tuple(sorted(options.items()))
        groups.setdefault(maker, {}).setdefault(key, {"params": [], **options})["params"].append(param)
    if not groups:
        raise ConfigError(f"stage {stage.name}: no parameter is trained.")
    adam = {"betas": (stage.betas[0], stage.betas[1]), "eps": stage.eps}
    fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in objective.parameters())
    defaults: dict[str, dict[str, Any]] = {"adamw": {**adam, "fused": fused}, "sgd": {}, "sparse_adam": adam}
    made = {}
    for maker, own in groups.items():
        for group in own.values():
            group["base_lr"] = group["lr"]
        made[maker] = MAKERS[maker](list(own.values()), lr=stage.lr, **defaults[maker])
    return Optimizers(made)


def clip(optimizers: Optimizers, params: Sequence[torch.nn.Parameter], largest: float) -> torch.Tensor:
    """Has the next step use gradients of a joint norm of at most `largest` (0 = as they are); returns the norm they
    have.

    A fused step divides the gradients itself as it reads them, which spares a pass over all of them.
    """
    for param in params:
        if param.grad is not None and param.grad.is_sparse:
            param.grad = param.grad.coalesce()  # each row once
    norm = torch.nn.utils.get_total_norm([numbers(param.grad) for param in params if param.grad is not None])
    if not largest:
        return norm
    for optimizer in optimizers.parts.values():
        if optimizer.defaults.get("fused"):
            scale: Any = optimizer
            scale.grad_scale = ((norm + 1e-6) / largest).clamp(min=1.0)
            continue
        for group in optimizer.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    numbers(param.grad).mul_((largest / (norm + 1e-6)).clamp(max=1.0))
    return norm


def rate_factor(stage: Stage, clock: Clock) -> Callable[[int], float]:
    """`factor(update)` of the base rate, from the library's schedules; stateless, so nothing needs resuming."""
    from transformers import get_scheduler

    carrier = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    return get_scheduler(stage.schedule, carrier, clock.at(stage.warmup), clock.total).lr_lambdas[0]


def set_rate(optimizer: Optimizers, factor: float) -> None:
    """Learning rate of the next update: each group's base rate times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
