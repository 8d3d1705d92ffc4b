"""Sparse transfer: the zeros a model comes with stay zeros."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from plmc.methods.prune.masked import Masked
from plmc.models.encoder import pooler_linear


@dataclass
class PatternLock(Masked):
    """Trains only the weights that are not zero when the stage begins; the pattern never changes.

    The mask is `w != 0` over the six Linear weights of each block (sparse transfer: Zafrir et al. 2021, arXiv
    2111.05754; Kurtic & Alistarh 2022, arXiv 2210.06384). On a dense model it does nothing: `lock/sparsity` is then 0.
    Composes with every method but another one that prunes.

    Attributes:
        pooler: counts the pooler's matrix in, which Prune OFA prunes.
    """

    pooler: bool = False

    def linears(self, model: nn.Module) -> dict[str, nn.Linear]:
        return super().linears(model) | (pooler_linear(model) if self.pooler else {})

    def _bind(self, model: nn.Module) -> None:
        if not self._masks:
            self._set({f"{name}.weight": linear.weight.detach() != 0 for name, linear in self.linears(model).items()})
        super()._bind(model)
