"""What the loop refuses or warns of: losses that are not finite, terms that train nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from plmc.core.clock import Clock
from plmc.errors import TrainingError
from plmc.training.gradient import numbers

# Rows that an error names; more would only scroll the cure away.
NAMED_ROWS = 16
PROBES = 64


@dataclass(frozen=True)
class Update:
    """Scalars of one optimizer update, still on the device, and the ids of its rows."""

    step: int
    terms: Mapping[str, Tensor]
    ids: np.ndarray


def read_scalars(updates: Sequence[Update], *, stage: str, overflow_is_handled: bool) -> dict[str, float]:
    """The scalars of the last update, all updates checked; the device is waited for once.

    Raises TrainingError for the first update with another value that is not finite, naming its rows.

    Args:
        overflow_is_handled: a loss scale deals with gradient norms that are not finite; they are then left out.
    """
    values = torch.stack([value.detach().float() for update in updates for value in update.terms.values()]).tolist()
    left = iter(values)
    for update in updates:
        read = {name: next(left) for name in update.terms}
        broken = [name for name, value in read.items() if not np.isfinite(value)]
        if overflow_is_handled and broken == ["grad_norm"]:
            del read["grad_norm"]
        elif broken:
            # A term is a better lead than the total that it spoils.
            name = min(broken, key=("grad_norm", "loss").__contains__)
            ids = update.ids.tolist()
            rows = ", ".join(map(str, ids[:NAMED_ROWS])) + (" …" if len(ids) > NAMED_ROWS else "")
            raise TrainingError(
                f"stage {stage}, update {update.step}: {name} is {read[name]}. Ids of the rows in that batch: {rows}. "
                f"Usual cures: a smaller lr, clip=1.0, precision=fp32. Checkpoints from before are kept."
            )
    return read


def largest_weights(terms: Callable[[Clock], Mapping[str, float]], clock: Clock) -> dict[str, float]:
    """The largest size of each term's weight at `PROBES` moments of a stage or more: a weight may begin at 0 and
    grow."""
    steps = range(0, clock.total, max(1, clock.total // PROBES))
    weights = [terms(replace(clock, step=step)) for step in steps]
    return {name: max(abs(each[name]) for each in weights) for name in weights[0]}


def idle_terms(
    terms: Mapping[str, Tensor],
    weights: Mapping[str, float],
    params: Sequence[nn.Parameter],
    *,
    stage: str,
    warn: Callable[[str], None],
) -> None:
    """Warns of each loss term that trains nothing: a weight of 0, or no gradient at this batch."""
    for name, term in terms.items():
        if weights[name] == 0:
            warn(f"stage {stage}: loss term {name} has weight 0 and trains nothing.")
            continue
        grads = torch.autograd.grad(term, params, retain_graph=True, allow_unused=True) if term.requires_grad else ()
        # Two equal models differ by rounding, whose gradients are of this size.
        if all(grad is None or bool(numbers(grad).abs().max() <= torch.finfo(torch.float32).eps) for grad in grads):
            warn(
                f"stage {stage}: loss term {name} = {float(term.detach()):.4g} has no gradient at the first batch. "
                f"It trains nothing, unless student and teacher start out equal."
            )
