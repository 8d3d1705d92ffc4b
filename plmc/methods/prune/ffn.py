"""Pruning of the feed-forward width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from plmc.core.fields import Count
from plmc.methods.prune.structured import StructuredPruning
from plmc.models import surgery


@dataclass
class FFNPruning(StructuredPruning):
    """Removes the feed-forward units that matter least for the loss; the exported model is narrower and faster.

    I_j = E_x |h_j(x)ᵀ dL(x)/dh_j(x)|, h_j the activation of unit j over the tokens: the gate score of Michel, Levy &
    Neubig (2019, arXiv 1905.10650, Eq. 2) for a unit in place of a head. Removed: row j of the first matrix and its
    bias, column j of the second.

    - `keep`: share of the units that stays. `ranking`: `layer` (the same width in every layer, which the library's
      configs can say) or `global` (all compete; read back by plmc's loader only). `begin`, `end`, `every`: as in
      gradual pruning.

    List it before a method that keeps masks. Raises ConfigError on a window that is empty.

    Attributes:
        multiple: of which the width left is one; int8 kernels like 16 or more. `normalize`: by the layer's l2 norm.
    """

    multiple: Count = 8
    needs: ClassVar[frozenset[str]] = frozenset({"matrices", "units"})
    exclusive: ClassVar[frozenset[str]] = frozenset({"width"})
    unit: ClassVar[str] = "feed-forward unit"

    def parts(self, model: nn.Module) -> list[tuple[list[nn.Linear], nn.Linear]]:
        return [([up], down) for up, down in surgery.feed_forward_linears(model)]
