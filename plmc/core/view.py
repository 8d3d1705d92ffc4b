"""What a loss may look at: the batch, what the student and the teacher said, and a second student forward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from plmc.heads.base import Head


@dataclass(frozen=True)
class Outputs:
    """What one model says about a batch of B rows of T tokens.

    Attributes:
        logits: one tensor per head: `(B, C)` for classification, `(B, 1)` for regression, two of `(B, T)` (start, end)
            for span extraction, in float32; `(N, V)` at N chosen positions of the batch for a masked language model, in
            the type that they were computed in.
        hidden_states: layers + 1 tensors `(B, T, D)`, the embedding output first.
        scores: attention before mask and softmax, Q Kᵀ/√d, one `(B, H, T, T)` a layer. The last two are None unless
            some method `needs` them.
    """

    logits: tuple[Tensor, ...]
    hidden_states: tuple[Tensor, ...] | None = None
    scores: tuple[Tensor, ...] | None = None

    @property
    def states(self) -> tuple[Tensor, ...]:
        """`hidden_states`, for a method that `needs` them."""
        if self.hidden_states is None:
            raise TypeError("nobody asked for hidden states: the method must list them among its needs")
        return self.hidden_states

    def detached(self) -> Outputs:
        """The same numbers without a gradient."""

        def cut(tensors: tuple[Tensor, ...] | None) -> tuple[Tensor, ...] | None:
            # Of stored hidden states only those that somebody reads are there.
            return tensors and tuple(tensor if tensor is None else tensor.detach() for tensor in tensors)

        return Outputs(cut(self.logits) or (), cut(self.hidden_states), cut(self.scores))

    @property
    def all_scores(self) -> tuple[Tensor, ...]:
        """`scores`, for a method that `needs` them."""
        if self.scores is None:
            raise TypeError("nobody asked for attention scores: the method must list them among its needs")
        return self.scores


class Run(Protocol):
    """A forward of the student; see `View.run`."""

    def __call__(self, inputs: Mapping[str, Tensor] | None = None, *, train: bool = True) -> Outputs: ...


@dataclass(frozen=True)
class View:
    """All that `Method.losses` may read about a batch of B rows of T tokens.

    Attributes:
        head: the kind of task, with its losses; see `plmc.heads.base.Head`.
        labels: None for rows without any; `(B,)` int64 classes, `(B,)` float32 scores, `(B, 2)` int64 first and last
            token of a span, or `(N,)` int64 for the N positions of a masked language model's logits, -100 where
            nothing is hidden.
        mask: `(B, T)`, 1 on real tokens.
        batch: the inputs of the model.
        student: what the student says.
        teacher: what the only teacher says; None without one, or with several. Methods that need one read `taught`.
        teachers: what each teacher says, by the name by which the stage calls it.
        run: a further forward of the student, with fresh dropout: `run()` on the same batch, `run(inputs)` on other
            tensors of the same shape by name, `run(train=False)` without dropout. None where there is no further one.
        per_row: positions a row of the whole update, see `plmc.core.batch.Batch`; `by_row` uses it.
        places: `(N,)` int64, the row of each position of a masked language model's logits, in order; None elsewhere.
        examples: `(B + 1,)`: row i is the sequences `examples[i]` to `examples[i + 1]` of the inputs; None: one each.
    """

    head: Head
    labels: Tensor | None
    mask: Tensor
    batch: Mapping[str, Tensor]
    student: Outputs
    teacher: Outputs | None = None
    run: Run | None = None
    per_row: Mapping[str, float] = field(default_factory=dict)
    places: Tensor | None = None
    examples: np.ndarray | None = None
    teachers: Mapping[str, Outputs] = field(default_factory=dict)

    @property
    def gold(self) -> Tensor:
        """`labels`, for a loss that needs them. Raises TypeError if there are none."""
        if self.labels is None:
            raise TypeError("this method compares with gold labels, and the rows come without any")
        return self.labels

    @property
    def at(self) -> Tensor:
        """`places`. Raises TypeError where logits are of rows."""
        if self.places is None:
            raise TypeError("the logits of this head are of rows, not of positions in them")
        return self.places

    @property
    def taught(self) -> Outputs:
        """The teacher's outputs, for a method that needs them. Raises TypeError if there are none."""
        if self.teacher is None:
            raise TypeError("this method compares with a teacher, and the batch comes without one")
        return self.teacher

    def by_row(self, values: Tensor, places: Tensor, kind: Literal["tokens", "guessed"]) -> Tensor:
        """`(B,)`: the values of each row's positions added up and divided by the number of positions a row of the whole
        update, so that the mean over the update's rows is the mean over its positions, into whatever it is cut.

        Args:
            values: `(N,)`, of some positions.
            places: `(N,)`, the sequence of each.
            kind: what is counted: all real tokens, or those to be guessed.
        """
        sums = values.new_zeros(len(self.mask)).index_add(0, places, values)
        return self.of_rows(sums) / (self.per_row.get(kind) or 1.0)

    def of_rows(self, values: Tensor) -> Tensor:
        """`(B,)`: the values of each row's sequences added up."""
        if self.examples is None:
            return values
        sizes = torch.from_numpy(np.diff(self.examples)).to(values.device)
        rows = torch.arange(len(sizes), device=values.device).repeat_interleave(sizes)
        return values.new_zeros(len(sizes)).index_add(0, rows, values)

    def of_each_teacher(self) -> list[View]:
        """The view once for each teacher, as if that were the only one; itself alone where there is one or none."""
        return [replace(self, teacher=said) for said in self.teachers.values()] or [self]

    def seen(self) -> View:
        """What `Method.observe` sees: the same numbers without a gradient, and no further forward."""
        return replace(
            self,
            student=self.student.detached(),
            teacher=self.teacher and self.teacher.detached(),
            teachers={name: said.detached() for name, said in self.teachers.items()},
            run=None,
        )
