"""Dynamic loss scale: keeps small fp16 gradients from vanishing and large ones from doing harm."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from plmc.errors import TrainingError
from plmc.training.gradient import numbers

START, GROW_AFTER = 2.0**16, 2000


class LossScale:
    """Factor on the loss before backward. Off (1, always) unless `precision` is fp16."""

    def __init__(self, precision: str):
        self.on = precision == "fp16"
        self.value = START if self.on else 1.0
        self.good = 0

    def undo(self, params: Iterable[nn.Parameter]) -> None:
        """Divides the gradients by the scale, in place."""
        if self.value != 1.0:
            torch._foreach_mul_([numbers(p.grad) for p in params if p.grad is not None], 1.0 / self.value)

    def accepts(self, norm: Tensor | None) -> bool:
        """Whether an update of this gradient norm counts. Halves on overflow, doubles after 2,000 good updates.

        Raises TrainingError if gradients overflow although nothing scales them up.
        """
        if not self.on:
            return True
        if norm is None or not torch.isfinite(norm):
            if self.value == 1.0:
                raise TrainingError(
                    "the gradient overflows fp16 at every loss scale. Use precision=bf16 or precision=fp32."
                )
            self.value, self.good = self.value / 2, 0
            return False
        self.good += 1
        if self.good % GROW_AFTER == 0:
            self.value *= 2
        return True

    def state_dict(self) -> dict[str, float]:
        """Scale and good updates since the last overflow."""
        return {"value": self.value, "good": self.good}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Inverse of `state_dict`."""
        self.value, self.good = state["value"], int(state["good"])
