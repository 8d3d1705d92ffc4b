"""Some rows of a split as a model reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch


@dataclass(frozen=True)
class Batch:
    """B rows padded to the longest, T tokens: `inputs` for the model, `labels`, `rows` (indices into the split) and
    `ids`.

    Attributes:
        per_row: for masked language models, `masked` positions and real `tokens` a row of the whole update.
    """

    inputs: dict[str, torch.Tensor]
    labels: torch.Tensor | None
    rows: np.ndarray
    ids: np.ndarray
    per_row: dict[str, float] | None = None

    @property
    def gold(self) -> torch.Tensor:
        """`labels`. Raises TypeError for rows without any."""
        if self.labels is None:
            raise TypeError("these rows have no labels")
        return self.labels

    def cut(self, pieces: Sequence[slice], *, evenly: bool = False) -> list[Batch]:
        """These rows each as a batch of its own, no wider than its longest row, or `evenly` as wide as this one."""
        return [self._part(piece, evenly) for piece in pieces]

    def _part(self, rows: slice, evenly: bool) -> Batch:
        mask = self.inputs["attention_mask"]
        width = mask.shape[1] if evenly else int(mask[rows].sum(-1).max())

        def narrowed(tensor: torch.Tensor) -> torch.Tensor:
            return tensor[rows, :width] if tensor.shape[1:] == mask.shape[1:] else tensor[rows]

        labels = self.labels
        if labels is not None:
            labels = narrowed(labels) if self.per_row else labels[rows]
        inputs = {name: narrowed(tensor) for name, tensor in self.inputs.items()}
        return replace(self, inputs=inputs, labels=labels, rows=self.rows[rows], ids=self.ids[rows])

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        if device.type == "cpu":
            return self
        inputs = {k: v.to(device, non_blocking=True) for k, v in self.inputs.items()}
        labels = None if self.labels is None else self.labels.to(device, non_blocking=True)
        return replace(self, inputs=inputs, labels=labels)
