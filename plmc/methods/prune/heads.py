"""Pruning of attention heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from plmc.core.shares import Sparsity
from plmc.errors import ConfigError
from plmc.methods.prune.structured import StructuredPruning
from plmc.models import surgery
from plmc.models.edits.record import edits


@dataclass
class HeadPruning(StructuredPruning):
    """Removes the attention heads that matter least for the loss; the exported model has fewer and is faster.

    I_h = E_x |Att_h(x)ᵀ dL(x)/dAtt_h(x)| (Michel, Levy & Neubig 2019, arXiv 1905.10650, Eq. 2), the loss of the stage,
    which distillation is a part of. Removed: the head's rows of query, key and value, its columns of the output.

    - `normalize`: layers are made comparable by the l2 norm of their scores. `multiple`: of which the number left is
      one.

    The library has no field for the number of heads: the shape is written to `config.plmc`, and plmc's loader, not
    `from_pretrained` on its own, reads the model back. List it before a method that keeps masks. Raises ConfigError on
    a window that is empty.

    Attributes:
        keep: share of the heads that stays. `ranking`: `layer` (the same number in every layer) or `global` (all
            compete; one of each layer stays). `begin`, `end`, `every`: window and distance of events, as in gradual
            magnitude pruning.
    """

    keep: Sparsity = 0.5
    needs: ClassVar[frozenset[str]] = frozenset({"matrices", "heads"})
    exclusive: ClassVar[frozenset[str]] = frozenset({"heads"})
    unit: ClassVar[str] = "head"

    def parts(self, model: nn.Module) -> list[tuple[list[nn.Linear], nn.Linear]]:
        if any(made["name"] == "prefix" for made in edits(model.config)):
            raise ConfigError(
                f"{self.name}: every head owns a part of the prefix that the model has, so none can be removed. Use "
                "ffn_prune, or train the prefix in a later stage."
            )
        return [(list(rows), columns) for *rows, columns in surgery.attention_linears(model)]

    def size(self, model: nn.Module) -> int:
        return surgery.head_size(model)
