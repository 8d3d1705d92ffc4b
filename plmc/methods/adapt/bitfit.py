"""Fine-tuning of the biases alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from plmc.core.method import Method
from plmc.core.setting import Building, Setting
from plmc.methods.adapt.head import check_head
from plmc.models.encoder import roles
from plmc.models.families.base import ATTENTION, GATED, QUERY, UP


@dataclass
class BitFit(Method):
    """Trains the bias of every layer and the head of the task; all other weights stay as they are.

    The trained set is {b : y = W x + b, or y = γ x̂ + b of a LayerNorm} and the head (Ben Zaken, Ravfogel & Goldberg
    2022, arXiv 2106.10199). What another method claims is trained as well.

    Composes badly with methods that let weights grow into new places (a pruning schedule that reintroduces weights).

    Attributes:
        biases: `all`, or `query_and_intermediate`: those of the query projections and of the first matrix of every
            feed-forward block, which the paper finds to be nearly enough.
        head: the layers after the encoder are trained, too.

    Raises:
        ConfigError: for a masked language model with `head`.
    """

    biases: Literal["all", "query_and_intermediate"] = "all"
    head: bool = True

    def __post_init__(self) -> None:
        self._encoder, self._few = "", frozenset[str]()

    def required(self) -> frozenset[str]:
        return frozenset() if self.biases == "all" else frozenset({"matrices"})

    def check(self, setting: Setting) -> None:
        check_head(self.name, setting, trained=self.head, others="biases")

    def prepare(self, model: nn.Module, setting: Building) -> nn.Module:
        self._encoder = f"{model.base_model_prefix}."
        if self.biases != "all":
            few = (QUERY, UP, ATTENTION, GATED)
            self._few = frozenset(
                f"{name}.bias" for block in roles(model) for role, (name, _) in block.items() if role in few
            )
        return model

    def trains(self, name: str, param: nn.Parameter) -> bool:
        if not name.startswith(self._encoder):
            return self.head
        return name.endswith(".bias") if self.biases == "all" else name in self._few
