"""Bottleneck adapters: small layers inside every block are trained, the pre-trained weights stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from plmc.core.fields import Count, Positive
from plmc.core.method import Method
from plmc.core.setting import Building, Setting
from plmc.methods.adapt.head import check_head
from plmc.models.edits.adapters import MARK
from plmc.models.edits.record import edit


@dataclass
class Adapter(Method):
    """A(h) = h + U f(D h + a) + b after each half of every block, before its residual connection (Houlsby et al. 2019,
    arXiv 1902.00751, Section 2.1).

    D `(d, k)` and U `(k, d)` begin near 0, so the model begins as it was. Trained are the adapters, the LayerNorms of
    the encoder, the head of the task, and what other methods claim. The exported model keeps its adapters: plmc loads
    it, ONNX and OpenVINO hold them, `from_pretrained` of transformers alone leaves them out.

    The matrices keep their names, so pruning, quantization and distillation of hidden states go with it.

    Attributes:
        size: d. The paper searches 8, 64 and 256 for BERT-large.
        activation: f, as transformers names it; the paper says only that it is not linear.
        after: `both` halves of a block, or the `feed_forward` layer alone, with half as many adapters.
        std: of the normal distribution, cut off at two, from which D and U are drawn.
        norms: the LayerNorms of the encoder are trained.
        head: the layers after the encoder are trained.

    Raises:
        ConfigError: for a masked language model with `head`.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"blocks"})
    exclusive: ClassVar[frozenset[str]] = frozenset({"adapters"})

    size: Count = 64
    activation: Literal["gelu", "relu", "silu", "tanh"] = "gelu"
    after: Literal["both", "feed_forward"] = "both"
    std: Positive = 0.01
    norms: bool = True
    head: bool = True

    def __post_init__(self) -> None:
        self._encoder, self._norms = "", frozenset[str]()

    def check(self, setting: Setting) -> None:
        check_head(self.name, setting, trained=self.head, others="the adapters")

    def prepare(self, model: nn.Module, setting: Building) -> nn.Module:
        self._encoder = f"{model.base_model_prefix}."
        named = {id(module): name for name, module in model.named_modules() if isinstance(module, nn.LayerNorm)}
        self._norms = frozenset(f"{name}.{part}" for name in named.values() for part in ("weight", "bias"))
        return edit(model, "adapters", size=self.size, activation=self.activation, after=self.after, std=self.std)

    def trains(self, name: str, param: nn.Parameter) -> bool:
        if not name.startswith(self._encoder):
            return self.head
        return name.rpartition(".")[2].startswith(MARK) or (self.norms and name in self._norms)
