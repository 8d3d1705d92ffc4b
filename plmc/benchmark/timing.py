"""The race: contenders take turns batch by batch, round by round, on pinned cores."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from plmc.benchmark.inputs import Case
from plmc.errors import ConfigError

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

    Contenders take turns on every batch and the order of turns rotates, so that a busy moment of the machine hits all
    alike. Before each timed call the same contender makes an untimed one on the batch before: its neighbour
    leaves caches and clock rates behind that a service which runs one model never sees. Stops after `rounds` rounds, or
    when a round ends beyond `seconds`, but not before LEAST_ROUNDS. Raises ConfigError for no rounds.
    """
    if rounds < 1:
        raise ConfigError(f"--rounds {rounds}: at least one round is needed.")
    count, batches = len(runtimes), len(case.feeds[0])
    wall: list[np.ndarray] = []
    cpu: list[np.ndarray] = []
    for runtime, feeds in zip(runtimes, case.feeds, strict=True):
        # Longest first: buffers then have their final size.
        for feed in feeds[::-1][:warmup]:
            runtime.run(feed)
    collecting = gc.isenabled()
    gc.disable()
    try:
        start = time.perf_counter()
        for number in range(rounds):
            if seconds and number >= min(LEAST_ROUNDS, rounds) and time.perf_counter() - start > seconds:
                break
            taken = np.empty((2, count, batches))
            for i in range(batches):
                for turn in range(count):
                    who = (turn + i + number) % count
                    runtimes[who].run(case.feeds[who][i - 1])
                    taken[:, who, i] = _timed(runtimes[who], case.feeds[who][i])
            wall.append(taken[0])
            cpu.append(taken[1])
    finally:
        if collecting:
            gc.enable()
    return [Times(np.stack([w[i] for w in wall]), np.stack([c[i] for c in cpu])) for i in range(count)]


def _timed(runtime: Any, feed: Any) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    runtime.run(feed)
    return time.perf_counter() - wall, time.process_time() - cpu
