"""Evaluation: judged weights, the student alone, no loss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from plmc.core.chain import Chain
from plmc.core.rows import Split
from plmc.models.masked_lm import read_at
from plmc.training.batches import evaluation_batches
from plmc.training.objective import read

# Padded tokens of an evaluation batch: large enough to keep the cores busy, small enough for any machine.
TOKENS = 4096


@contextmanager
def judged(model: nn.Module, chain: Chain) -> Iterator[None]:
    """Inside, the model holds the weights that count (averages, masks); afterwards the live ones again, bit for bit."""
    live = {name: param.detach() for name, param in model.named_parameters()}
    changed = {}
    try:
        with torch.no_grad():
            for name, value in chain.weights(live).items():
                if value is not live[name]:
                    changed[name] = live[name].clone()
                    live[name].copy_(value)
        yield
    finally:
        with torch.no_grad():
            for name, value in changed.items():
                live[name].copy_(value)


def logits_of(
    model: nn.Module, split: Split, *, kind: str, pad_id: int, autocast: torch.dtype | None = None, progress=None
) -> tuple[np.ndarray, ...]:
    """Logits of every row in the order of the split, float32: `(N, C)`, or `(N, T)` padded with -inf for spans.

    Of a masked language model they would not fit; see `guesses_of` for what there is instead.
    """
    if kind == "mlm":
        return guesses_of(model, split, pad_id=pad_id, progress=progress)
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    heads: list[np.ndarray] = []
    batches = evaluation_batches(split, tokens=TOKENS, pad_id=pad_id)
    if progress:
        batches = progress(batches, "rows", len(split), size=lambda batch: len(batch.rows))
    precision = torch.autocast(device.type, autocast) if autocast else nullcontext()
    try:
        with torch.inference_mode(), precision:
            for batch in batches:
                outputs = read(model(**batch.to(device).inputs), kind=kind, scores=False).logits
                for i, head in enumerate(outputs):
                    if len(heads) <= i:
                        width = int(split.lengths.max()) if kind == "span" else head.shape[1]
                        heads.append(np.full((len(split), width), -np.inf, dtype=np.float32))
                    values = head.float()
                    if kind == "span":
                        values = values.masked_fill(batch.to(device).inputs["attention_mask"] == 0, -torch.inf)
                    heads[i][batch.rows, : values.shape[1]] = values.cpu().numpy()
    finally:
        model.train(training)
    return tuple(heads)


def guesses_of(model: nn.Module, split: Split, *, pad_id: int, progress=None) -> tuple[np.ndarray, ...]:
    """Of every row, `(N,)` each: tokens to guess, right guesses, and the sum of -log p of the hidden tokens."""
    device, training = next(model.parameters()).device, model.training
    model.eval()
    found = tuple(np.zeros(len(split)) for _ in range(3))
    batches = evaluation_batches(split, tokens=TOKENS, pad_id=pad_id)
    if progress:
        batches = progress(batches, "rows", len(split), size=lambda batch: len(batch.rows))
    try:
        with torch.inference_mode():
            for batch in batches:
                batch = batch.to(device)
                chosen = batch.labels >= 0
                logits, gold = read_at(model, batch.inputs, chosen).logits[0], batch.labels[chosen]
                values = (
                    torch.ones(len(gold)),
                    logits.argmax(-1) == gold,
                    F.cross_entropy(logits, gold, reduction="none"),
                )
                row = batch.rows[chosen.nonzero()[:, 0].cpu().numpy()]
                for sums, value in zip(found, values, strict=True):
                    np.add.at(sums, row, value.double().cpu().numpy())
    finally:
        model.train(training)
    return found


def evaluate(
    model: nn.Module, split: Split, task, *, pad_id: int, progress=None
) -> tuple[dict[str, float], list[dict]]:
    """Metrics and per-example records, in float32 whatever the training precision: what is saved is what is judged."""
    records = task.predict(logits_of(model, split, kind=task.kind, pad_id=pad_id, progress=progress), split)
    return task.score(records, split), records
