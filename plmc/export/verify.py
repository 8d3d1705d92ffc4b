"""Proof that an export still is the model: outputs, task metric with its interval, latency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from plmc.core.batch import Batch
from plmc.core.rows import Split
from plmc.errors import DataError
from plmc.export.runtime import Runtime
from plmc.heads.base import Head
from plmc.measure import figures
from plmc.report.significance import paired_bootstrap
from plmc.tasks.base import Task
from plmc.training.evaluate import gathered


def outputs(runtime: Runtime, split: Split, head: Head, *, pad_id: int, progress=None) -> tuple[np.ndarray, ...]:
    """Logits of every row in the order of the split, as `plmc.training.evaluate.logits_of` gives those of a torch
    model."""

    def said(batch: Batch) -> list[torch.Tensor]:
        feed = {name: tensor.numpy() for name, tensor in batch.inputs.items()}
        return [torch.from_numpy(values) for values in runtime.run(feed)]

    return gathered(said, split, head, pad_id=pad_id, progress=progress)


def fidelity(before: Sequence[np.ndarray], after: Sequence[np.ndarray]) -> dict[str, float]:
    """How far the logits moved: `max_error`, `mean_error` (absolute), `cosine` of all of them, `argmax_agreement`.

    Both are arrays `(N, C)`, one per head, padded with -inf in the same places. `argmax_agreement` is the share of rows
    (and heads) with the same largest logit; 1 for a single output.
    """
    real = [np.isfinite(head) for head in before]
    one, two = (
        np.concatenate([head[mask].astype(np.float64) for head, mask in zip(heads, real, strict=True)])
        for heads in (before, after)
    )
    moved = np.abs(one - two)
    lengths = float(np.linalg.norm(one) * np.linalg.norm(two))
    same = [np.mean(b.argmax(1) == a.argmax(1)) for b, a in zip(before, after, strict=True)]
    return {
        "max_error": float(moved.max()),
        "mean_error": float(moved.mean()),
        "cosine": float(one @ two) / lengths if lengths else 1.0,
        "argmax_agreement": float(np.mean(same)),
    }


def quality(task: Task, split: Split, before: Sequence[np.ndarray], after: Sequence[np.ndarray]) -> dict[str, Any]:
    """The task's metrics before and after, and the change of the first with its 95 % interval over rows, in points.

    `change`: after minus before, times 100; `interval` is that of a paired bootstrap. Raises DataError for rows without
    labels.
    """
    records = [task.predict(logits, split) for logits in (before, after)]
    if not records[0] or any("label" not in record for record in records[0]):
        raise DataError(
            f"{task.name}: the rows have no labels, so an export cannot be verified on them. Take other data."
        )
    scores = [task.score(found, split) for found in records]
    difference = paired_bootstrap(task.metric, [records[1]], [records[0]], resamples=2_000)
    return {
        "metric": task.metric,
        "before": scores[0][task.metric],
        "after": scores[1][task.metric],
        "change": 100 * (scores[1][task.metric] - scores[0][task.metric]),
        "interval": [100 * difference.low, 100 * difference.high],
        "metrics_before": scores[0],
        "metrics_after": scores[1],
        "rows": len(records[0]),
    }


def single_feeds(split: Split, count: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """`count` random rows as feeds of one unpadded row each, int64 `(1, T)`."""
    batches = figures.single_rows(split, min(count, len(split)), seed)
    return [{name: tensor.numpy() for name, tensor in batch.items()} for batch in batches]


def latency(
    runtime: Runtime, model: torch.nn.Module, split: Split, *, rows: int = 24, budget: float = 8.0
) -> dict[str, Any]:
    """Median milliseconds a row at batch 1 on one thread: the export and torch in fp32 and bf16, in turns.

    bf16 is always measured: on a processor with units for it, it is faster at no loss of accuracy.
    """
    half = _bfloat16(model)
    contenders: dict[str, Any] = {
        "torch_fp32": model,
        "torch_bf16": half,
        "export": lambda batch: runtime.run({name: tensor.numpy() for name, tensor in batch.items()}),
    }
    batches = figures.single_rows(split, min(rows, len(split)))
    times = figures.latency(contenders, batches, rounds=3, warmup=2, budget=budget)
    found: dict[str, Any] = {f"{name}_ms": round(time.median_ms, 4) for name, time in times.items()}
    found |= {f"{name}_quartiles_ms": [round(t.lower_ms, 4), round(t.upper_ms, 4)] for name, t in times.items()}
    return found | {
        "batch": 1,
        "threads": 1,
        "rows": len(batches),
        "speedup": found["torch_fp32_ms"] / found["export_ms"],
    }


def _bfloat16(model: torch.nn.Module) -> torch.nn.Module:
    import copy

    return copy.deepcopy(model).to(torch.bfloat16).eval()
