"""Prefix tuning: keys and values of their own in every layer are trained, the pre-trained weights stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from plmc.core.fields import Count, Positive
from plmc.core.method import Method
from plmc.core.setting import Building, Setting
from plmc.errors import ConfigError
from plmc.methods.adapt.head import check_head
from plmc.models.edits.prefix import MARK
from plmc.models.edits.record import edit


@dataclass
class Prefix(Method):
    """softmax(Q [P_K; K]ᵀ/√d) [P_V; V] in every layer, of which P_K and P_V `(H, m, d)` are trained (Li & Liang 2021,
    arXiv 2101.00190; for encoders P-tuning v2, Liu et al. 2022, arXiv 2110.07602).

    Trained are the prefixes, the head of the task, and what other methods claim: 2 L m D numbers and the head. Tokens
    keep their positions, hidden states their shape, and attention scores are those between tokens, so distillation of
    either goes with it. There is no network that makes the prefix while it is trained: P-tuning v2 finds it of no
    steady use.

    The exported model keeps its prefix: plmc loads it, ONNX and OpenVINO hold it, `from_pretrained` of transformers
    alone leaves it out.

    Composes badly with pruning of heads, which own a part of the prefix (refused).

    Attributes:
        length: m.
        std: of the normal distribution that the prefix is drawn from; 1 is what published code has.
        head: the layers after the encoder are trained.

    Raises:
        ConfigError: for a masked language model with `head`; beside a method that removes heads.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"matrices", "interface"})
    exclusive: ClassVar[frozenset[str]] = frozenset({"prefix"})

    length: Count = 20
    std: Positive = 1.0
    head: bool = True

    def __post_init__(self) -> None:
        self._encoder = ""

    def check(self, setting: Setting) -> None:
        for other in setting.methods.values():
            if "heads" in other.exclusive:
                raise ConfigError(
                    f"{self.name}: {other.name} removes heads, and every head owns a part of the prefix. Remove one of "
                    f"them, or use {other.name} in an earlier stage."
                )
        check_head(self.name, setting, trained=self.head, others="the prefix")

    def prepare(self, model: nn.Module, setting: Building) -> nn.Module:
        self._encoder = f"{model.base_model_prefix}."
        return edit(model, "prefix", length=self.length, std=self.std)

    def trains(self, name: str, param: nn.Parameter) -> bool:
        return name.rpartition(".")[2].startswith(MARK) if name.startswith(self._encoder) else self.head
