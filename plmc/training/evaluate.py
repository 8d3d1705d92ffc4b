"""Evaluation: judged weights, the student alone, no loss."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from plmc.core.batch import Batch
from plmc.core.chain import Chain
from plmc.core.clock import Clock
from plmc.core.rows import Split
from plmc.heads.base import Head
from plmc.training.batches import evaluation_batches
from plmc.world import World, here


@contextmanager
def judged(model: nn.Module, chain: Chain, clock: Clock) -> Iterator[None]:
    """Inside, the model holds the weights that count (averages, masks); afterwards the live ones again, bit for bit."""
    live = {name: param.detach() for name, param in model.named_parameters()}
    changed = {}
    try:
        with torch.no_grad():
            for name, value in chain.weights(live, clock).items():
                if value is not live[name]:
                    changed[name] = live[name].clone()
                    live[name].copy_(value)
        yield
    finally:
        with torch.no_grad():
            for name, value in changed.items():
                live[name].copy_(value)


def logits_of(
    model: nn.Module, split: Split, head: Head, *, pad_id: int, progress: Any = None
) -> tuple[np.ndarray, ...]:
    """What `head.gather` keeps of every row's logits, in the order of the split, float32.

    Returns:
        One array a part: `(N, C)`, two of `(N, T)` for spans, -inf on padding, or three of `(N,)` for a masked language
        model, whose logits would not fit.
    """
    device, training = next(model.parameters()).device, model.training
    model.eval()

    def said(batch: Batch) -> Sequence[torch.Tensor]:
        return head.ask(model, batch).logits

    try:
        with torch.inference_mode():
            return gathered(said, split, head, pad_id=pad_id, progress=progress, device=device)
    finally:
        model.train(training)


def gathered(
    said: Callable[[Batch], Sequence[torch.Tensor]],
    split: Split,
    head: Head,
    *,
    pad_id: int,
    progress: Any = None,
    device: torch.device | None = None,
) -> tuple[np.ndarray, ...]:
    """See `logits_of`; `said(batch)` gives the logits of a batch. Several processes take turns at the batches."""
    world = here()
    batches = evaluation_batches(split, pad_id=pad_id, turns=world.size, turn=world.rank)
    if progress:
        batches = progress(batches, "rows", len(split) // world.size, size=lambda batch: len(batch.rows))
    parts: list[np.ndarray] = []
    for rows, found in _of_all(_gathered(said, batches, head, device), world):
        for i, values in enumerate(found):
            if len(parts) <= i:
                parts.append(head.blank(values, split))
            if values.ndim == 1:
                parts[i][rows] = values
            else:
                parts[i][rows, : values.shape[1]] = values
    return tuple(parts)


Kept = tuple[np.ndarray, tuple[np.ndarray, ...]]
"""Rows, and what is kept of their logits."""


def _gathered(
    said: Callable[[Batch], Sequence[torch.Tensor]], batches: Iterable[Batch], head: Head, device: torch.device | None
) -> Iterator[Kept]:
    for batch in batches:
        batch = batch.to(device) if device else batch
        yield batch.rows, head.gather(said(batch), batch)


def _of_all(found: Iterator[Kept], world: World) -> Iterable[Kept]:
    """What all processes found; of one alone as it comes."""
    return found if world.size == 1 else itertools.chain.from_iterable(world.gather(list(found)))


def judgement(model: nn.Module, split: Split, task: Any, *, pad_id: int) -> dict[str, float]:
    """Metrics with the `loss` on the gold labels among them, which no term of a method adds to."""
    logits = logits_of(model, split, task.head, pad_id=pad_id)
    metrics = task.score(task.predict(logits, split), split)
    loss = None if split.labels is None else task.head.loss(logits, split)
    return metrics if loss is None else {"loss": loss, **metrics}


def evaluate(
    model: nn.Module, split: Split, task: Any, *, pad_id: int, progress: Any = None
) -> tuple[dict[str, float], list[dict]]:
    """Metrics and per-example records, always in float32: the saved weights are judged."""
    records = task.predict(logits_of(model, split, task.head, pad_id=pad_id, progress=progress), split)
    return task.score(records, split), records
