"""Some rows of a split as a model reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch


@dataclass(frozen=True)
class Batch:
    """B rows padded to the longest, T tokens: `inputs` for the model, `labels`, `rows` (indices into the split) and
    `ids`.

    Attributes:
        per_row: positions a row of the whole update: real `tokens`, and those to be `guessed` where labels are one a
            token; None: this batch is not a part of one.
        examples: `(B + 1,)`: row i is the sequences `examples[i]` to `examples[i + 1]` of the inputs; None: one each.
    """

    inputs: dict[str, torch.Tensor]
    labels: torch.Tensor | None
    rows: np.ndarray
    ids: np.ndarray
    per_row: Mapping[str, float] | None = None
    examples: np.ndarray | None = None

    def recounted(self) -> Batch:
        """With `per_row` as it is in this batch."""
        mask, counts = self.inputs["attention_mask"], {}
        counts["tokens"] = int(mask.sum())
        if self.labels is not None and self.labels.shape == mask.shape:
            counts["guessed"] = int((self.labels >= 0).sum())
        return replace(self, per_row={name: count / len(self.rows) for name, count in counts.items()})

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
        mask, sequences, examples = self.inputs["attention_mask"], rows, None
        if self.examples is not None:
            examples = self.examples[rows.start : rows.stop + 1]
            sequences, examples = slice(int(examples[0]), int(examples[-1])), examples - examples[0]
        width = mask.shape[1] if evenly else int(mask[sequences].sum(-1).max())

        def narrowed(tensor: torch.Tensor, part: slice) -> torch.Tensor:
            return tensor[part, :width] if tensor.shape[1:] == mask.shape[1:] else tensor[part]

        labels = self.labels
        if labels is not None:
            labels = narrowed(labels, rows) if self.per_row and "guessed" in self.per_row else labels[rows]
        inputs = {name: narrowed(tensor, sequences) for name, tensor in self.inputs.items()}
        ids = self.ids[rows]
        return replace(self, inputs=inputs, labels=labels, rows=self.rows[rows], ids=ids, examples=examples)

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        if device.type == "cpu":
            return self
        inputs = {k: v.to(device, non_blocking=True) for k, v in self.inputs.items()}
        labels = None if self.labels is None else self.labels.to(device, non_blocking=True)
        return replace(self, inputs=inputs, labels=labels)
