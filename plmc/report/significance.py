"""Is one arm better than another? Paired bootstrap and McNemar's test on stored predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from plmc.errors import DataError
from plmc.report.statistics import statistic

Records = Sequence[Mapping[str, Any]]

CHUNK = 4_000_000
"""Resampled rows held in memory at once."""


BOOTSTRAP, MCNEMAR = "the same bootstrap", "McNemar's exact test"


@dataclass(frozen=True)
class Difference:
    """Arm minus baseline in units of the metric, with its confidence interval and the two-sided p-value of `test`."""

    value: float
    low: float
    high: float
    p: float
    confidence: float = 0.95
    test: str = BOOTSTRAP


def paired_bootstrap(
    metric: str | Callable[[np.ndarray, np.ndarray], float],
    arm: Sequence[Records],
    baseline: Sequence[Records],
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Difference of the mean metric of two arms, by resampling test examples (Efron & Tibshirani 1993, ch. 13 and 16).

    An arm's score is the mean over its seeds. Every resample draws N examples with replacement, the same ones for all
    seeds of both arms: each example brings the predictions of all of them, so examples that are hard for both cancel
    out. The interval is the percentile interval and p inverts it, 2 min(P[d* <= 0], P[d* >= 0]) with one added to
    counts and resamples: a p below 0.05 and a 95 % interval without zero say the same. Seeds are not resampled: the
    interval answers "with other test examples", the standard deviation over seeds answers "with other seeds". Equal
    arguments give equal results. Where records name their `group` (questions on one text, options of one question),
    groups are drawn in place of examples, each with all that it has.

    Args:
        metric: a name known to `plmc.report.statistics`, or `f(prediction, label) -> float` on arrays (slow: called per
            seed and resample).
        arm: one list of prediction records per seed; the numbers of seeds may differ.
        baseline: as `arm`.
        resamples: how many samples are drawn.
        confidence: of the interval, 0 to 1.
        seed: of the draws.

    Raises:
        DataError: the arms were not judged on the same examples, or lack labels.
    """
    arms = align([*arm, *baseline])
    scorers = [statistic(metric, records) for records in arms]
    n = len(arms[0])
    signs = np.array([1 / len(arm)] * len(arm) + [-1 / len(baseline)] * len(baseline))
    group = _groups(arms[0])
    whole = np.ones((1, n), dtype=np.float32)
    value = float(signs @ [float(scorer(whole)[0]) for scorer in scorers])
    rng = np.random.default_rng(seed)
    drawn: list[np.ndarray] = []
    left = resamples
    while left:
        rows = min(left, max(1, CHUNK // n))
        counts = _counts(rng, rows, n) if group is None else _counts(rng, rows, int(group.max()) + 1)[:, group]
        drawn.append(signs @ np.stack([scorer(counts) for scorer in scorers]))
        left -= rows
    differences = np.concatenate(drawn)
    low, high = np.quantile(differences, [(1 - confidence) / 2, (1 + confidence) / 2])
    # Equal arms differ by rounding only; without the slack such noise would count as a sign.
    tail = min(np.sum(differences <= 1e-9), np.sum(differences >= -1e-9))
    p = min(1.0, 2 * (tail + 1) / (resamples + 1))
    return Difference(value, float(low), float(high), float(p), confidence)


def mcnemar(arm: Records, baseline: Records) -> float:
    """Two-sided exact p-value that two classifiers err equally often (McNemar 1947), for one run each.

    Of b + c examples that exactly one of them gets right, b is Binomial(b + c, 1/2). The binomial form holds at any
    count, so the chi-square approximation is not used. No such example gives 1.
    """
    from scipy.stats import binomtest

    first, second = align([arm, baseline])
    ours, theirs = (np.array([r["prediction_id"] == r["label"] for r in records]) for records in (first, second))
    b, c = int(np.sum(ours & ~theirs)), int(np.sum(~ours & theirs))
    return float(binomtest(b, b + c, 0.5).pvalue) if b + c else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values of a family of comparisons (Holm 1979): the chance of any false alarm stays below the level."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)) if len(p) else p
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted.tolist()


def align(runs: Sequence[Records]) -> list[list[Mapping[str, Any]]]:
    """The records of all runs in the same order of ids. Raises DataError if ids or labels differ between runs."""
    if not runs or not runs[0]:
        raise DataError(
            "There are no predictions to compare. Give the same plmc train command again: it resumes the run."
        )
    tables = [{record["id"]: record for record in run} for run in runs]
    ids = sorted(tables[0])
    labels = [tables[0][i].get("label") for i in ids]
    if any(label is None for label in labels):
        raise DataError("The stored predictions carry no labels (a test split?). Compare on a split with labels.")
    for table in tables[1:]:
        if table.keys() != tables[0].keys():
            raise DataError(
                f"The runs were not judged on the same examples ({len(tables[0])} and {len(table)} ids, "
                f"{len(table.keys() & tables[0].keys())} in common). Compare runs of the same task and data."
            )
        if [table[i].get("label") for i in ids] != labels:
            raise DataError("The runs disagree on the labels of the same ids. Compare runs of the same task and data.")
    return [[table[i] for i in ids] for table in tables]


def _groups(records: Records) -> np.ndarray | None:
    """The number of each record's group, `(N,)`; None where records stand alone."""
    if any("group" not in record for record in records):
        return None
    return np.unique([record["group"] for record in records], return_inverse=True)[1]


def grouped(records: Records) -> bool:
    """Whether some records belong together, so that they are no independent samples."""
    return _groups(records) is not None


def _counts(rng: np.random.Generator, rows: int, n: int) -> np.ndarray:
    """How often each of n examples is drawn in each of `rows` resamples, `(rows, n)`; every row sums to n."""
    drawn = rng.integers(0, n, size=(rows, n), dtype=np.int64)
    drawn += np.arange(rows)[:, None] * n
    return np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float32)
