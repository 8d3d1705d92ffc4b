"""The race: contenders take turns batch by batch, round by round, on pinned cores."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from plmc.benchmark.inputs import Case
from plmc.errors import ConfigError
from plmc.measure.turns import turns

LEAST_ROUNDS = 3
"""Rounds that are run even beyond the time limit: fewer give no useful interval."""


@dataclass(frozen=True)
class Times:
    """Seconds of every call of one contender, `(rounds, batches)`: on the wall clock, and of CPU time of the
    process."""

    wall: np.ndarray
    cpu: np.ndarray


def race(
    case: Case,
    runtimes: Sequence[Any],
    *,
    rounds: int,
    seconds: float | None = None,
    warmup: int = 3,
) -> list[Times]:
    """Times of all contenders on a case.

    Contenders take turns (see `plmc.measure.turns`). Before each timed call the same contender makes an untimed one on
    the batch before: its neighbour leaves caches and clock rates behind that a service which runs one model never sees.
    Stops after `rounds` rounds, or when a round ends beyond `seconds`, but not before LEAST_ROUNDS. Raises ConfigError
    for no rounds.
    """
    if rounds < 1:
        raise ConfigError(f"--rounds {rounds}: at least one round is needed.")
    batches = len(case.feeds[0])
    for runtime, feeds in zip(runtimes, case.feeds, strict=True):
        # Longest first: buffers then have their final size.
        for feed in feeds[::-1][:warmup]:
            runtime.run(feed)
    taken: list[list[tuple[float, float]]] = [[] for _ in runtimes]
    for _, i, who in turns(len(runtimes), batches, rounds, seconds=seconds, least=LEAST_ROUNDS):
        runtimes[who].run(case.feeds[who][i - 1])
        taken[who].append(_timed(runtimes[who], case.feeds[who][i]))
    return [Times(*np.array(calls).reshape(-1, batches, 2).transpose(2, 0, 1)) for calls in taken]


def _timed(runtime: Any, feed: Any) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    runtime.run(feed)
    return time.perf_counter() - wall, time.process_time() - cpu
