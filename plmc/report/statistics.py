"""Metrics of weighted examples, for thousands of bootstrap weightings at once.

All but rank correlation are functions of sums over examples, so a resample is one row of a matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from plmc.errors import PlmcError

Scorer = Callable[[np.ndarray], np.ndarray]
"""From weights `(R, N)`, whole numbers, to R metric values."""


def statistic(metric: str | Callable[[np.ndarray, np.ndarray], float], records: Sequence[Mapping[str, Any]]) -> Scorer:
    """The metric of `records` as a function of example weights.

    Names: `accuracy`, `f1` (class 1 of two classes; on span records the mean F1), `macro_f1`, `matthews`, `pearson`,
    `spearman`, `exact_match`; also the longer spellings in `ALIASES`, and names joined by `+` for their mean.
    A callable gets the arrays `(prediction, label)` with rows repeated by weight.
    Raises PlmcError on an unknown name or on records of the wrong kind.
    """
    if callable(metric):
        return _looped(metric, *_pair(records))
    if "+" in metric:
        parts = [statistic(part, records) for part in metric.split("+")]
        return lambda weights: np.mean([part(weights) for part in parts], axis=0)
    name = ALIASES.get(metric, metric)
    if name in ("exact_match", "f1") and "exact_match" in records[0]:
        return _mean(np.array([record[name] for record in records], dtype=float))
    if name not in MAKERS:
        known = ", ".join(sorted({*MAKERS, *ALIASES, "exact_match"}))
        raise PlmcError(f"No significance test for the metric '{metric}'. Known: {known}.")
    return MAKERS[name](*_pair(records))


def _pair(records: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    key = "prediction_id" if "prediction_id" in records[0] else "prediction"
    prediction, label = np.array([r[key] for r in records]), np.array([r["label"] for r in records])
    if prediction.dtype.kind not in "iufb" or label.dtype.kind not in "iufb":
        raise PlmcError("These predictions are texts; only exact_match and f1 can be tested on them.")
    return prediction, label


def _mean(values: np.ndarray) -> Scorer:
    return lambda weights: (weights @ values) / weights.sum(axis=1)


def _accuracy(prediction: np.ndarray, label: np.ndarray) -> Scorer:
    return _mean((prediction == label).astype(float))


def _class_counts(prediction: np.ndarray, label: np.ndarray, classes: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """From weights to `(3, R, K)`: per class how many examples are hit, are of it, and are said to be of it."""
    true, said = label[:, None] == classes, prediction[:, None] == classes
    indicators = np.concatenate([true & said, true, said], axis=1).astype(np.float32)

    def counts(weights: np.ndarray) -> np.ndarray:
        # Counts are whole numbers far below 2**24, so single precision adds them exactly.
        table = (weights.astype(np.float32, copy=False) @ indicators).astype(float)
        return table.reshape(-1, 3, len(classes)).swapaxes(0, 1)

    return counts


def _f1(prediction: np.ndarray, label: np.ndarray) -> Scorer:
    counts = _class_counts(prediction, label, np.array([1]))
    return lambda weights: _f1_of(*counts(weights))[:, 0]


def _macro_f1(prediction: np.ndarray, label: np.ndarray) -> Scorer:
    counts = _class_counts(prediction, label, np.union1d(prediction, label))

    def score(weights: np.ndarray) -> np.ndarray:
        hits, true, said = counts(weights)
        # A resample may miss a class altogether: scikit-learn leaves such a class out of the mean, and so do we.
        return _f1_of(hits, true, said).sum(axis=1) / (true + said > 0).sum(axis=1)

    return score


def _f1_of(hits: np.ndarray, true: np.ndarray, said: np.ndarray) -> np.ndarray:
    return _ratio(2 * hits, true + said)


def _matthews(prediction: np.ndarray, label: np.ndarray) -> Scorer:
    counts = _class_counts(prediction, label, np.union1d(prediction, label))

    def score(weights: np.ndarray) -> np.ndarray:
        # Gorodkin 2004, Eq. 8; with two classes it is the usual Matthews correlation.
        (hits, true, said), total = counts(weights), weights.sum(axis=1, dtype=float)
        covariance = hits.sum(axis=1) * total - (true * said).sum(axis=1)
        spread = (total**2 - (true**2).sum(axis=1)) * (total**2 - (said**2).sum(axis=1))
        return _ratio(covariance, np.sqrt(spread))

    return score


def _pearson(prediction: np.ndarray, label: np.ndarray) -> Scorer:
    # Centring first keeps the sums of squares free of cancellation; correlation does not notice it.
    x, y = (values.astype(float) - values.mean() for values in (prediction, label))
    sums = np.stack([x, y, x * x, y * y, x * y], axis=1)

    def score(weights: np.ndarray) -> np.ndarray:
        mx, my, mxx, myy, mxy = ((weights @ sums) / weights.sum(axis=1, keepdims=True)).T
        return _ratio(mxy - mx * my, np.sqrt(np.maximum(mxx - mx**2, 0) * np.maximum(myy - my**2, 0)))

    return score


def _spearman(prediction: np.ndarray, label: np.ndarray) -> Scorer:
    ranks = [_ranks(values) for values in (prediction, label)]

    def score(weights: np.ndarray) -> np.ndarray:
        n = weights.sum(axis=1, keepdims=True)
        # Midranks average to (n + 1) / 2 under any weighting, so they can be centred beforehand.
        x, y = (rank(weights) - (n + 1) / 2 for rank in ranks)
        covariance, xx, yy = (np.einsum("rn,rn,rn->r", weights, a, b) for a, b in ((x, y), (x, x), (y, y)))
        return _ratio(covariance, np.sqrt(xx * yy))

    return score


def _ranks(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """From weights `(R, N)` to the midrank of every example in the resampled data, `(R, N)`; ties share theirs."""
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(group[order]) > 0])

    def rank(weights: np.ndarray) -> np.ndarray:
        sizes = np.add.reduceat(weights[:, order], starts, axis=1, dtype=np.float64)
        upto = np.cumsum(sizes, axis=1)
        return ((2 * upto - sizes + 1) / 2)[:, group]

    return rank


def _looped(metric: Callable[[np.ndarray, np.ndarray], float], prediction: np.ndarray, label: np.ndarray) -> Scorer:
    def score(weights: np.ndarray) -> np.ndarray:
        rows = (np.repeat(np.arange(len(label)), row.astype(int)) for row in weights)
        return np.array([metric(prediction[row], label[row]) for row in rows], dtype=float)

    return score


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """0 where the denominator is 0: a constant prediction has no correlation and no F1."""
    return np.divide(above, below, out=np.zeros_like(above, dtype=float), where=below > 0)


MAKERS: Mapping[str, Callable[[np.ndarray, np.ndarray], Scorer]] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "macro_f1": _macro_f1,
    "matthews": _matthews,
    "pearson": _pearson,
    "spearman": _spearman,
}

ALIASES = {
    "acc": "accuracy",
    "em": "exact_match",
    "f1_macro": "macro_f1",
    "mcc": "matthews",
    "matthews_correlation": "matthews",
    "matthews_corrcoef": "matthews",
    "pearsonr": "pearson",
    "spearmanr": "spearman",
}
