"""Which parameters of the student are trained: those that some method claims."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from plmc.core.chain import Chain


def freeze(student: nn.Module, chain: Chain) -> list[nn.Parameter]:
    """Switches off the gradient of all parameters that no method of `chain` claims, if any claims at all; returns those
    that it switched off. A parameter that was off before stays off."""
    if not chain.claims():
        return []
    unclaimed = [
        param for name, param in student.named_parameters() if param.requires_grad and not chain.trains(name, param)
    ]
    for param in unclaimed:
        param.requires_grad_(False)
    return unclaimed


def unfreeze(params: Iterable[nn.Parameter]) -> None:
    """The inverse."""
    for param in params:
        param.requires_grad_(True)
