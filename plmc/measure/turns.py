"""Contenders take turns: the order of calls in every comparison of speeds."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator


def turns(
    contenders: int, batches: int, rounds: int, *, seconds: float | None = None, least: int = 1
) -> Iterator[tuple[int, int, int]]:
    """Round, batch and contender of each call to time; there is no garbage collection until the last.

    All contenders run on every batch of a round, and who begins rotates, so that a busy moment of the machine hits all
    alike.

    Args:
        seconds: no further round begins after them; None: no limit.
        least: rounds that are run all the same.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        start = time.perf_counter()
        for number in range(rounds):
            if seconds is not None and number >= least and time.perf_counter() - start > seconds:
                return
            for i in range(batches):
                for turn in range(contenders):
                    yield number, i, (number + i + turn) % contenders
    finally:
        if collecting:
            gc.enable()
