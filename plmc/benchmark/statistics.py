"""From raw times to figures: percentiles, throughput, ratios with intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
SEED = 0


@dataclass(frozen=True)
class Ratio:
    """How many times as fast as the reference, with a 95 % interval; `low` and `high` are None for a single round."""

    value: float
    low: float | None
    high: float | None


def percentiles(times: np.ndarray) -> dict[str, float]:
    """p50, p95, p99 and mean of the calls, in milliseconds.

    Args:
        times: seconds `(rounds, batches)`.
    """
    p50, p95, p99 = np.percentile(times, [50, 95, 99]) * 1e3
    return {"p50_ms": float(p50), "p95_ms": float(p95), "p99_ms": float(p99), "mean_ms": float(times.mean() * 1e3)}


def per_second(times: np.ndarray, rows: int) -> float:
    """Rows a second: `rows` of a round over the sum of every batch's median time, seconds `(rounds, batches)`."""
    return rows / float(np.median(times, axis=0).sum())


def ratio(reference: np.ndarray, times: np.ndarray, *, resamples: int = RESAMPLES, seed: int = SEED) -> Ratio:
    """The reference's time over this one's: medians over rounds, summed over batches.

    Both are seconds `(rounds, batches)` of the same rounds. The interval is a percentile bootstrap over rounds, drawn
    jointly for both, because a busy moment of the machine slows whole rounds. Raises ValueError for unequal shapes.
    """
    if reference.shape != times.shape:
        raise ValueError(f"times of different rounds cannot be compared: {reference.shape} and {times.shape}")
    value = float(np.median(reference, axis=0).sum() / np.median(times, axis=0).sum())
    rounds = len(times)
    if rounds < 2:
        return Ratio(value, None, None)
    drawn = np.random.default_rng(seed).integers(0, rounds, size=(resamples, rounds))
    values = np.median(reference[drawn], axis=1).sum(axis=1) / np.median(times[drawn], axis=1).sum(axis=1)
    low, high = np.percentile(values, [2.5, 97.5])
    return Ratio(value, float(low), float(high))
