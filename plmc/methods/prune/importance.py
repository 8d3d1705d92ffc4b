"""First-order importance of units, measured by gates while training goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from plmc.core.method import Join


class Gates:
    """Gates ξ = 1 on the units of each layer, one a row of the batch; sums |dL/dξ| over rows and updates.

    Multiplying by 1 changes no bit of the forward or the backward pass.
    """

    def __init__(self) -> None:
        self._open: list[tuple[int, Tensor]] = []
        self._new: dict[int, Tensor] = {}
        self._sums: dict[int, Tensor] = {}

    def open(self, layer: int, size: int) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...] | None]:
        """A forward pre-hook for the Linear that reads the units of `layer`, each `size` of its inputs `(B, T, units x
        size)`."""

        def hook(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
            values = args[0]
            if not (module.training and torch.is_grad_enabled()):
                return None
            gate = torch.ones(
                values.shape[0], values.shape[-1] // size, device=values.device, dtype=values.dtype, requires_grad=True
            )
            self._open.append((layer, gate))
            return (values * gate.repeat_interleave(size, dim=1)[:, None, :], *args[1:])

        return hook

    def read(self) -> None:
        """Takes what the backward pass left in the gates."""
        for layer, gate in self._open:
            if gate.grad is not None:
                # An overflowing loss scale leaves infinities; that update does not count for the optimizer either.
                seen = torch.nan_to_num(gate.grad.float().abs().sum(dim=0), nan=0.0, posinf=0.0)
                self._new[layer] = self._new[layer] + seen if layer in self._new else seen
        self._open.clear()

    def sync(self, counts: list[int], join: Join, device: torch.device) -> None:
        """Makes what was read in this update what all processes read in it."""
        for layer, count in enumerate(counts):
            seen = self._new.get(layer)
            seen = torch.zeros(count, device=device) if seen is None else seen
            join(seen, "sum")
            self._new[layer] = seen
        self._add()

    def _add(self) -> None:
        for layer, seen in self._new.items():
            self._sums[layer] = self._sums[layer] + seen if layer in self._sums else seen
        self._new = {}

    def take(self, counts: list[int], device: torch.device) -> list[Tensor]:
        """The sums of each layer of `counts` units, on the CPU; they start again from 0.

        Zeros for a layer that the loss does not reach.
        """
        self._add()
        sums = [self._sums.get(layer, torch.zeros(count, device=device)) for layer, count in enumerate(counts)]
        self._sums = {}
        return [each.cpu() for each in sums]

    def state_dict(self) -> dict[str, Any]:
        """The sums so far."""
        self._add()
        return {str(layer): each.clone() for layer, each in self._sums.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self._sums = {int(layer): each.clone() for layer, each in state.items()}
        self._open.clear()


def mean_importance(sums: list[Tensor], *, normalize: bool) -> list[Tensor]:
    """Scores that can be compared across layers: with `normalize` each layer's are divided by their l2 norm, as Michel
    et al. (2019) do after Molchanov et al. (2017)."""
    return [each / each.norm().clamp(min=torch.finfo(each.dtype).tiny) if normalize else each.clone() for each in sums]
