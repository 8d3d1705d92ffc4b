"""Hidden representation perturbation: small noise on the input of every block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from plmc.core.clock import Clock
from plmc.core.fields import Count, Decay, NotNegative
from plmc.core.method import Method
from plmc.core.setting import Building, Setting
from plmc.errors import ConfigError
from plmc.models.encoder import hidden_dropouts, layers


@dataclass
class HyPe(Method):
    """Adds fresh random noise to the input of every transformer block while training.

    h_i ← h_i + ε_i, ε_i ~ N(0, σ²) or U(-σ, σ) of shape `(B, T, D)`, for every block i, token and unit on its own (Yuan
    et al. 2023, arXiv 2212.08853). The embedding output is perturbed, the last block's output is not. No parameter, no
    second forward.

    - `sigma=0` draws no random number: the control arm that shows what turning off dropout does alone.

    Needs full precision: around 1, bf16 has steps of 8e-3 and fp16 of 1e-3, and the noise would vanish. Composes badly
    with a loss on the embedding output (`hidden_states[0]`), which is seen with its noise.

    Attributes:
        layers: null (all), `{top: 3}` or `{bottom: 3}`.
        mode: `paper`, or `official_code`, whose uniform noise is one-sided: U(0, σ).
        hidden_dropout: rate of the hidden dropout while the stage lasts (the paper: 0), null to leave it; dropout on
            attention probabilities stays. The config is not touched, and `finish` restores the rates.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"fp32", "blocks"})

    noise: Literal["normal", "uniform"] = "normal"
    sigma: NotNegative = 1e-5
    layers: Mapping[Literal["top", "bottom"], Count] | None = None
    mode: Literal["paper", "official_code"] = "paper"
    hidden_dropout: Decay | None = 0.0

    def __post_init__(self) -> None:
        if self.layers is not None:
            self.layers = dict(self.layers)
            if len(self.layers) != 1:
                raise ConfigError(f"layers={self.layers} is unknown. Write null, {{top: 3}} or {{bottom: 3}}.")
        self._restore: list[tuple[nn.Dropout, float]] = []

    def required(self) -> frozenset[str]:
        return self.needs if self.sigma > 0 else self.needs - {"fp32"}

    def check(self, setting: Setting) -> None:
        wanted = max(self.layers.values()) if self.layers else 0
        if wanted > setting.student.layers:
            raise ConfigError(
                f"{self.name}: layers={self.layers}, but the student has {setting.student.layers} layers. "
                f"Set methods.{self.name}.layers=null for all of them."
            )

    def prepare(self, model: nn.Module, setting: Building) -> nn.Module:
        if self.hidden_dropout is not None:
            self._restore = [(dropout, dropout.p) for dropout in hidden_dropouts(model)]
            for dropout, _ in self._restore:
                dropout.p = self.hidden_dropout
        return model

    @contextmanager
    def scope(self, model: nn.Module, clock: Clock) -> Iterator[None]:
        hooks = [block.register_forward_pre_hook(self._perturb) for block in self._blocks(model)] if self.sigma else []
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def finish(self, model: nn.Module, setting: Building) -> nn.Module:
        for dropout, rate in self._restore:
            dropout.p = rate
        self._restore = []
        return model

    def _blocks(self, model: nn.Module) -> list[nn.Module]:
        blocks = list(layers(model))
        if not self.layers:
            return blocks
        return blocks[-self.layers["top"] :] if "top" in self.layers else blocks[: self.layers["bottom"]]

    def _perturb(self, block: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not block.training:
            return None
        one_sided = self.mode == "official_code"
        return (args[0] + draw(args[0], self.noise, self.sigma, one_sided=one_sided), *args[1:])


def draw(like: Tensor, noise: str, sigma: float, *, one_sided: bool = False) -> Tensor:
    """Noise of the shape, type and device of `like`: N(0, σ²), U(-σ, σ), or U(0, σ) if `uniform` and `one_sided`."""
    if noise == "normal":
        return torch.randn_like(like) * sigma
    return torch.empty_like(like).uniform_(0.0 if one_sided else -sigma, sigma)
