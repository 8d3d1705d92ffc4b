"""A compression method: a dataclass whose fields are its config, with optional hooks.

Every hook has a law that says how the hooks of many methods become one (see `plmc.core.chain`); the default of each
hook is the identity of its law. A method imports neither the trainer nor any other method.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from plmc.core.clock import BEGINNING
from plmc.core.fields import Checked

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from torch import Tensor, nn

    from plmc.core.batch import Batch
    from plmc.core.clock import Clock
    from plmc.core.compute import Compute
    from plmc.core.rows import TaskData
    from plmc.core.setting import Building, Dims, Setting
    from plmc.core.view import View


class Join(Protocol):
    """Makes of a tensor that every process has their sum, least or largest, in place."""

    def __call__(self, values: Tensor, how: Literal["sum", "min", "max"]) -> None: ...


@dataclass
class Method(Checked):
    """Base of all methods; each hook below is the identity.

    Class facts:

    Attributes:
        needs: what the trainer must supply: `teacher.logits`, `teacher.hidden_states`, `teacher.scores`,
            `hidden_states`, `scores` (the student's), `fp32` (does not work in half
            precision), `dense_gradient` (writes into the gradient of words that the batch does not have), `all_tokens`
            (of a masked language model the logits of every real token, not only of the masked ones), `teacher.padding`
            (reads the teacher's hidden states on padding, which stored outputs do not have), `padding` (hangs on how
            far rows are padded, so that parts of an update are padded as the whole is), `blocks` (takes the
            student's stack of blocks apart), `matrices` (and the matrices of each block), `heads`, `units` (cuts them
            out of the matrices), `interface` (the attention function is exchanged), `whole_batch` (compares
            the rows of an update with each other: no micro-batches), `examples` (asks for the loss of each row).
        order: 0 changes weights, 1 only watches them; judged weights and `finish` fold in reverse `order`.
        place: the stage that `method=[…]` on the command line puts it in: `first` or `last`.
        family: `distillation`, `pruning` or `quantization`, for tables and pictures that tell models apart by what was
            done to them; empty for what only trains them otherwise.
        several_teachers: it compares the student with each teacher of a stage that has more than one; it reads
            `View.teachers` or `View.of_each_teacher`.
        by_row: each of its loss terms is a value for each row; one that is known for the batch as a whole only does not
            go with methods that need `examples`.
        exclusive: roles only one method of a stage may hold, e.g. `average`, `gradient`.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    order: ClassVar[int] = 0
    family: ClassVar[str] = ""
    place: ClassVar[str] = "last"
    several_teachers: ClassVar[bool] = False
    by_row: ClassVar[bool] = True
    exclusive: ClassVar[frozenset[str]] = frozenset()

    name: str = field(default="", kw_only=True, repr=False)
    """The name in the chain; the config key gives it. Prefix of loss terms and metrics."""

    def required(self) -> frozenset[str]:
        """`needs` of this instance; override where fields switch a need on or off."""
        return self.needs

    def teacher_layers(self, setting: Setting) -> frozenset[int]:
        """Law: union. Which of the teacher's hidden states `losses` reads, 0 being the embedding output: only these are
        stored. All of them, unless overridden."""
        if setting.teacher is None or "teacher.hidden_states" not in self.required():
            return frozenset()
        return frozenset(range(setting.teacher.layers + 1))

    def terms(self, clock: Clock = BEGINNING) -> dict[str, float]:
        """Law: union. Weight of each loss term that `losses` returns, for the update after `clock.step`: the stage's
        loss is the sum of weight x term over methods. The weights may change with the clock, the names must not."""
        return {}

    def check(self, setting: Setting) -> None:
        """Raises ConfigError if the method cannot work here; runs before any download, on shapes alone. The student's
        is the one after all methods' `prepare`."""

    def dims_after(self, before: Dims) -> Dims | None:
        """Law: fold. The student's shape after `prepare`; None where only data can tell. Raises ConfigError if a
        student of that shape cannot be changed so."""
        return before

    def settled(self, clock: Clock) -> int:
        """The number of updates after which an evaluation shows what the method is for: the last mask is set, the mean
        has its first point, integers are on. Scores from before are not chosen as the best; averages begin no earlier
        than other methods settle."""
        return 0

    def data(self, data: TaskData, setting: Building) -> TaskData:
        """Law: fold. Replaces or extends the training rows; runs once, before the stage."""
        return data

    def prepare(self, model: nn.Module, setting: Building) -> nn.Module:
        """Law: fold. Changes the student before training: drop layers, insert modules. Runs again on resume."""
        return model

    def modules(self, setting: Building) -> nn.Module | None:
        """Law: union by name. Extra trainable modules that are not part of the exported student."""
        return None

    def trains(self, name: str, param: nn.Parameter) -> bool:
        """Law: union. Whether the method claims this parameter of the student for training. A stage trains all of the
        student if no method overrides this hook, else what some method claims, and `modules`; the listed order plays no
        part. Tied parameters have one name, the first in the model."""
        return False

    def claims(self) -> bool:
        """Whether `trains` says anything."""
        return type(self).trains is not Method.trains

    def groups(self, name: str, param: nn.Parameter) -> dict[str, Any]:
        """Law: union; the same key from two methods is an error. Options of one parameter: those of its optimizer, and
        `optimizer` itself, `adamw` if none is named (see `plmc.training.optimizer`)."""
        return {}

    def rate(self, factor: float, clock: Clock) -> float:
        """Law: fold in listed order. Multiple of the base learning rate for the update after `clock.step`."""
        return factor

    def batch(self, batch: Batch, rng: np.random.Generator, clock: Clock) -> Batch:
        """Law: fold in listed order, over all rows of an update before they are cut into micro-batches. Other tokens,
        masks or labels of the same rows, padded to any width; student and teacher read the result, and no stored
        outputs of a teacher are used.

        Pure: a function of the batch, the clock, and `rng`, which is new for each update and hangs on (seed, stage,
        update) alone; so a resumed run and other micro-batches see the same.
        """
        return batch

    def rewrites(self) -> bool:
        """Whether `batch` does anything."""
        return type(self).batch is not Method.batch

    def scope(self, model: nn.Module, clock: Clock) -> AbstractContextManager[None]:
        """Law: nest, first listed outermost. Surrounds every training forward of the student."""
        return nullcontext()

    def losses(self, view: View, clock: Clock) -> dict[str, Tensor]:
        """Law: union, then weighted sum with `terms()` for each row, then the mean over the update.

        A term is `(B,)`, a value for each row, or a scalar, a mean over the batch that counts for each row alike.
        Without state: it is called several times an update where some method computes the gradient more than once, or
        for a part of the batch.
        """
        return {}

    def observe(self, view: View, clock: Clock) -> None:
        """Law: sequence, by `order`. Remembers what the batch showed: queues, running statistics. Called exactly once
        for each part of an update (its micro-batches, in order), after the first `losses` on it; `view` carries no
        gradient."""

    def gradient(self, compute: Compute, params: list[nn.Parameter]) -> Tensor:
        """Law: wrap, first listed outermost. `compute()` zeroes the gradients, runs forward and backward over the whole
        update and returns the loss; on return `p.grad` holds what the optimizer is to see. `compute(weights)` gives
        other weights than 1/E to the update's E rows, `compute.examples()` their losses."""
        return compute()

    def sync(self, model: nn.Module, clock: Clock, join: Join) -> None:
        """Law: sequence, by `order`. Once an update, after the optimizer's step and before `after_update`: what the
        method gathered from this process's rows of it becomes what it would have gathered from all of them.

        `join(values, "sum")`, `"min"` or `"max"` changes a tensor in place; all processes call it as often, with the
        same shapes, also one that had no rows. Gradients, losses and `compute.examples()` are those of all rows
        already.
        """

    def after_update(self, model: nn.Module, clock: Clock) -> None:
        """Law: sequence, by `order`. Runs after each optimizer step; `clock.step` counts the step just made."""

    def after_eval(self, metrics: Mapping[str, float], clock: Clock) -> bool:
        """Law: sequence; any True stops the stage. `metrics` are those of the task, and the `loss` on gold labels."""
        return False

    def weights(self, params: Mapping[str, Tensor], clock: Clock) -> Mapping[str, Tensor]:
        """Law: fold, reverse `order`. Pure: from the live weights to the judged ones, which are evaluated and saved.

        With `clock.done` to the result of the stage. Where that is not what was judged last, it is judged once more; a
        stage that keeps its best evaluation (`select: best`) has that one's weights as its result.
        """
        return params

    def finish(self, model: nn.Module, setting: Building) -> nn.Module:
        """Law: fold, reverse `order`. Turns the judged student into what is exported."""
        return model

    def tokenizer(self, tokenizer: Any) -> Any:
        """Law: fold, reverse `order`, after `finish`. From the student's tokenizer to the one that the exported student
        reads with; pure, `tokenizer` itself where nothing changes."""
        return tokenizer

    def leave(self, folder: Path, base: str) -> None:
        """Law: sequence, as listed. Once the run has ended, of the methods of its last stage: writes files into
        `folder`, which stays beside the exported model if there is anything in it, such as the part that was trained.

        Args:
            base: name of the model that the student began as, all of it.
        """

    def metrics(self) -> dict[str, float]:
        """Scalars worth a curve: sparsity, rank, learning state."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Everything a bitwise resume needs: tensors and plain Python values."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`; called after `prepare`."""
