"""What all mask methods share: masks by parameter name, held at zero until the weights are exported."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

from torch import Tensor, nn

from plmc.core.clock import Clock
from plmc.core.compute import Compute
from plmc.core.method import Method
from plmc.core.setting import Building
from plmc.errors import ConfigError
from plmc.methods.prune.hold import held, hold, hold_gradients
from plmc.models.encoder import pruned_linears


class Masked(Method):
    """Keeps the weights under a False mask at zero: gradient, weights after the step, judged and exported weights.

    Masks are boolean tensors by parameter name (`….weight` of the six Linear modules of each block). Only one method of
    a stage may hold the role `mask`.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"matrices"})
    family: ClassVar[str] = "pruning"
    exclusive: ClassVar[frozenset[str]] = frozenset({"mask"})

    def __post_init__(self) -> None:
        self._masks: dict[str, Tensor] = {}
        self._targets: dict[str, nn.Parameter] = {}
        self._names: dict[int, str] = {}
        self._sparsity = 0.0

    def prepare(self, model: nn.Module, setting: Building) -> nn.Module:
        self._targets = {}
        self._set({})
        return model

    def scope(self, model: nn.Module, clock: Clock) -> AbstractContextManager[None]:
        # Not in prepare: methods further down the chain may still remove layers there.
        self._bind(model)
        return nullcontext()

    def gradient(self, compute: Compute, params: list[nn.Parameter]) -> Tensor:
        loss = compute()
        hold_gradients(params, self._names, self._masks)
        return loss

    def after_update(self, model: nn.Module, clock: Clock) -> None:
        self._bind(model)
        # Momentum gathered before a weight was pruned would move it again.
        hold(self._targets, self._masks)

    def weights(self, params: Mapping[str, Tensor], clock: Clock) -> Mapping[str, Tensor]:
        return held(params, self._masks)

    def finish(self, model: nn.Module, setting: Building) -> nn.Module:
        self._targets = {}
        self._bind(model)
        hold(self._targets, self._masks)
        return model

    def metrics(self) -> dict[str, float]:
        return {"sparsity": self._sparsity}

    def state_dict(self) -> dict[str, Any]:
        return {"masks": dict(self._masks)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._targets = {}
        self._set(state["masks"])

    def linears(self, model: nn.Module) -> dict[str, nn.Linear]:
        """The modules whose weights are masked, by name."""
        return pruned_linears(model)

    def _bind(self, model: nn.Module) -> None:
        if self._targets:
            return
        targets: dict[str, Any] = {f"{name}.weight": linear.weight for name, linear in self.linears(model).items()}
        lost = [name for name, mask in self._masks.items() if name not in targets or targets[name].shape != mask.shape]
        if lost:
            raise ConfigError(
                f"{self.name}: the mask of {lost[0]} fits no weight of the model. "
                f"Methods that change its shape come first: method=[layer_drop,{self.name}]"
            )
        self._targets = targets
        self._names = {id(param): name for name, param in targets.items()}
        self._masks = {name: mask.to(targets[name].device) for name, mask in self._masks.items()}

    def _set(self, masks: Mapping[str, Tensor]) -> None:
        self._masks = dict(masks)
        total = sum(mask.numel() for mask in masks.values())
        kept = sum(int(mask.sum()) for mask in masks.values())
        self._sparsity = 1 - kept / total if total else 0.0
