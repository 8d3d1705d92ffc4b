"""What a loss may look at: the batch, what the student and the teacher said, and a second student forward."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Outputs:
    """What one model says about a batch of B rows of T tokens.

    `logits`: one tensor per head: `(B, C)` for classification, `(B, 1)` for regression, two of `(B, T)` (start, end)
    for span extraction, in float32; `(N, V)` at N chosen positions of the batch for a masked language model, in the
    type that they were computed in. `hidden_states`: layers + 1 tensors `(B, T, D)`, the embedding output first.
    `attentions`: one `(B, H, T, T)` of probabilities per layer. `scores`: the same before mask and softmax, Q Kᵀ/√d.
    The last three are None unless some method `needs` them.
    """

    logits: tuple[Tensor, ...]
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    scores: tuple[Tensor, ...] | None = None


@dataclass(frozen=True)
class View:
    """All that `Method.losses` may read.

    `kind` is the task kind: `classification`, `regression`, `span` or `mlm`. `labels` is `(B,)` int64, `(B,)` float32,
    `(B, 2)` int64 (start and end token), or `(N,)` int64 for the N positions of the logits, -100 where nothing is
    guessed.
    `shares`: for `mlm`, what a mean over this micro-batch's `masked` positions or real `tokens` is to be multiplied
    with, so that micro-batches add up to the mean over the whole update; 1 if it is one micro-batch. `mask` is `(B,
    T)`, 1 on real tokens. `again()` runs a second student forward on the same batch, with fresh dropout.
    """

    kind: str
    labels: Tensor
    mask: Tensor
    batch: Mapping[str, Tensor]
    student: Outputs
    teacher: Outputs | None = None
    again: Callable[[], Outputs] | None = None
    shares: Mapping[str, float] = field(default_factory=lambda: {"masked": 1.0, "tokens": 1.0})
