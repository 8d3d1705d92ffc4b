"""What a sweeper that searches for the best score hears of a job."""

from __future__ import annotations

from collections.abc import Mapping

from plmc.config.schema import Limits
from plmc.errors import ConfigError
from plmc.results.record import Record

# Scores lie between -1 (correlations) and 1, so a job above its limits is below every job within them.
_BELOW = 2.0


def excess(record: Record, limits: Limits) -> dict[str, float]:
    """By how many times each limit is exceeded, of those that are. Raises ConfigError for a latency that was not
    measured."""
    found = {
        "params": record.student.parameters,
        "megabytes": (record.student.size_bytes or 0) / 1e6,
        "latency_ms": record.latency.batch_1_ms,
    }
    if limits.latency_ms is not None and found["latency_ms"] is None:
        raise ConfigError("limits.latency_ms needs a latency, and latency_rows=0 measures none. Set latency_rows=32")
    return {key: found[key] / limit for key, limit in vars(limits).items() if limit is not None and found[key] > limit}


def objective(score: float, over: Mapping[str, float]) -> float:
    """The score, or for a job that exceeds a limit something below all scores, lower the farther it is beyond."""
    return score - _BELOW - max(over.values()) if over else score
