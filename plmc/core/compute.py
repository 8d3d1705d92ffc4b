"""What `Method.gradient` wraps: the loss and gradient of an update."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn

    from plmc.core.method import Method


class Compute(Protocol):
    """Loss and gradient of the update's E rows at the present weights."""

    def __call__(self, weights: Tensor | None = None) -> Tensor:
        """Zeroes the gradients, runs forward and backward over the whole update and returns the loss.

        Args:
            weights: `(E,)`, in place of 1/E for each row in the mean over the update; detached.
        """
        ...

    def examples(self) -> Tensor:
        """The loss of each row `(E,)`, in the order of `weights`, without dropout and without a gradient; what methods
        know for the batch as a whole only counts for each row alike. Raises TrainingError if that is all there is.
        """
        ...


class Wrapped:
    """`inner` with the gradient of `method` around it: a `Compute` again."""

    def __init__(self, method: Method, inner: Compute, params: list[nn.Parameter]):
        self.method, self.inner, self.params = method, inner, params

    def __call__(self, weights: Tensor | None = None) -> Tensor:
        inner = self.inner if weights is None else Weighted(self.inner, weights)
        return self.method.gradient(inner, self.params)

    def examples(self) -> Tensor:
        """Those of `inner`."""
        return self.inner.examples()


class Weighted:
    """`inner` with the weights that a method further out gave; a method's own ones win."""

    def __init__(self, inner: Compute, weights: Tensor):
        self.inner, self.weights = inner, weights

    def __call__(self, weights: Tensor | None = None) -> Tensor:
        return self.inner(self.weights if weights is None else weights)

    def examples(self) -> Tensor:
        """Those of `inner`."""
        return self.inner.examples()
