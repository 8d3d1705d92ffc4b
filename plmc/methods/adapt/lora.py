"""Low-rank adaptation: what is learnt is the product of two thin matrices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from plmc.core.fields import Count, Decay, Positive
from plmc.core.method import Method
from plmc.core.setting import Building, Setting
from plmc.errors import ConfigError
from plmc.methods.adapt.head import check_head
from plmc.models import peft_adapter
from plmc.models.encoder import roles
from plmc.models.families.base import ATTENTION, DOWN, GATED, KEY, OUTPUT, QUERY, UP, VALUE
from plmc.models.lora import insert, merge

TARGETS = {
    "query_value": (QUERY, VALUE, ATTENTION),
    "attention": (QUERY, KEY, VALUE, OUTPUT, ATTENTION),
    "all": (QUERY, KEY, VALUE, OUTPUT, UP, DOWN, ATTENTION, GATED),
}
"""Which matrices of a block. A family that has query, key and value in one matrix gets one product for it."""


@dataclass
class LoRA(Method):
    """W + (α / r) B A in place of W, of which A and B are trained (Hu et al. 2021, arXiv 2106.09685, Section 4.1).

    A `(r, D_in)` is random, B `(D_out, r)` begins at 0. The head of the task is trained, too, and what other methods
    claim. At the end of the stage the product is added to W: the exported model is a plain one, as fast as before.

    The run leaves A, B and the head in the files of PEFT, too, if they and the given model are all that it ends with.

    Composes badly with what cuts or rounds the same matrices in the same stage (refused): the product would fill the
    zeros, and be rounded only once it is merged. A later stage may do either.

    Attributes:
        rank: r.
        alpha: α; the product is scaled by α / r.
        dropout: rate on the input of A.
        targets: the matrices of every block that get a product. The paper adapts query and value.
        head: the layers after the encoder are trained.

    Raises:
        ConfigError: beside a method that prunes or quantizes matrices; for a masked language model with `head`.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"matrices"})
    exclusive: ClassVar[frozenset[str]] = frozenset({"lora"})

    rank: Count = 8
    alpha: Positive = 16.0
    dropout: Decay = 0.0
    targets: Literal["query_value", "attention", "all"] = "query_value"
    head: bool = True

    def __post_init__(self) -> None:
        self._encoder, self._task = "", ""
        self._learnt: dict[str, Tensor] = {}

    def check(self, setting: Setting) -> None:
        for other in setting.methods.values():
            if other.family in ("pruning", "quantization") and "matrices" in other.required():
                raise ConfigError(
                    f"{self.name}: its product is added to matrices that {other.name} has worked on, which would undo "
                    f"it. Use {other.name} in a later stage, or remove one of them."
                )
        check_head(self.name, setting, trained=self.head, others="the products")

    def prepare(self, model: nn.Module, setting: Building) -> nn.Module:
        self._encoder, self._task = f"{model.base_model_prefix}.", setting.head.suffix
        self._learnt = {}
        wanted = TARGETS[self.targets]
        chosen = [name for block in roles(model) for role, (name, _) in block.items() if role in wanted]
        insert(model, chosen, rank=self.rank, alpha=self.alpha, dropout=self.dropout)
        return model

    def trains(self, name: str, param: nn.Parameter) -> bool:
        return "lora_" in name if name.startswith(self._encoder) else self.head

    def finish(self, model: nn.Module, setting: Building) -> nn.Module:
        # Of a stage that was finished before, the state has them, and the model never had.
        self._learnt = self._learnt or {
            name: param.detach().cpu().clone() for name, param in model.named_parameters() if self.trains(name, param)
        }
        merge(model)
        return model

    def leave(self, folder: Path, base: str) -> None:
        peft_adapter.write(
            folder,
            self._learnt,
            base=base,
            inside=self._encoder,
            suffix=self._task,
            settings={"r": self.rank, "lora_alpha": self.alpha, "lora_dropout": self.dropout},
        )

    def state_dict(self) -> dict[str, Any]:
        return {"learnt": dict(self._learnt)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._learnt = dict(state["learnt"])
