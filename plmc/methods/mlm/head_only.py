"""Trains a head on an encoder that stays as it is."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

from torch import nn

from plmc.core.clock import Clock
from plmc.core.method import Method
from plmc.core.setting import Building, Setting
from plmc.errors import ConfigError
from plmc.models.encoder import base
from plmc.models.modes import evaluating

_INNER = frozenset({"hidden_states", "scores"})


@dataclass
class HeadOnly(Method):
    """Trains the head and leaves the encoder as it is; makes a masked language model out of a bare encoder.

    The head's output matrix is the word embedding and frozen with it; of the head its transform and bias learn. The
    encoder runs without dropout. Not from a paper. Composes badly with methods that train or prune the encoder.

    Raises:
        ConfigError: if every loss looks at the inside of the encoder.
    """

    def __post_init__(self) -> None:
        self._encoder = ""

    def check(self, setting: Setting) -> None:
        losses = [method for method in setting.methods.values() if method.terms()]
        if losses and all(method.required() & _INNER for method in losses):
            raise ConfigError(
                f"{self.name}: {losses[0].name} looks at the inside of the encoder, which is frozen, so the head would "
                f"learn nothing. Add a loss on its answers, or remove {self.name}."
            )

    def prepare(self, model: nn.Module, setting: Building) -> nn.Module:
        self._encoder = f"{model.base_model_prefix}."
        return model

    def trains(self, name: str, param: nn.Parameter) -> bool:
        return not name.startswith(self._encoder)

    def scope(self, model: nn.Module, clock: Clock) -> AbstractContextManager[None]:
        return evaluating(base(model))
