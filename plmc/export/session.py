"""Which session options run an ONNX file fastest on this machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from plmc.export.extras import need
from plmc.export.runtime import session_options
from plmc.measure.turns import turns

# The fused kernel is slower than what it replaces on some machines: 1.4 times at batch 1 in int8 on AVX512-VNNI.
_CLEARLY = 0.95
CANDIDATES: tuple[tuple[str, ...], ...] = ((), ("SkipLayerNormFusion",))


def faster_options(
    file: Path, rows: Sequence[dict[str, np.ndarray]], *, rounds: int = 5
) -> tuple[list[str], dict[str, float]]:
    """The optimizers to disable, and the median milliseconds of CPU time a row of each candidate on one thread.

    Args:
        rows: feeds by input name. CPU time leaves out what other processes take.
    """
    ort = need("onnxruntime")
    sessions = [
        ort.InferenceSession(
            str(file), session_options(1), providers=["CPUExecutionProvider"], disabled_optimizers=list(names) or None
        )
        for names in CANDIDATES
    ]
    taken: list[list[float]] = [[] for _ in CANDIDATES]
    for number, i, who in turns(len(sessions), len(rows), rounds + 1):
        start = time.thread_time()
        sessions[who].run(None, rows[i])
        if number:  # the first pass warms up
            taken[who].append((time.thread_time() - start) * 1e3)
    medians = [float(np.median(times)) for times in taken]
    labels = ["without " + " ".join(names) if names else "default" for names in CANDIDATES]
    # Within noise the choice is always the same.
    best = CANDIDATES[0] if medians[0] < _CLEARLY * medians[1] else CANDIDATES[1]
    return list(best), {label: round(median, 4) for label, median in zip(labels, medians, strict=True)}
