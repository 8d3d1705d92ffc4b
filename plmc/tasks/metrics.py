"""The metrics of classification and regression tasks, as fractions; all are better when higher."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Metric = Callable[[np.ndarray, np.ndarray], float]
"""`(prediction, label) -> value`, both `(N,)`: class ids or scores."""


def accuracy(prediction: np.ndarray, label: np.ndarray) -> float:
    """Share of correct predictions, 0 to 1."""
    return float(np.mean(prediction == label))


def f1(prediction: np.ndarray, label: np.ndarray) -> float:
    """F1 of class 1, 0 to 1; 0 where neither prediction nor label holds that class."""
    from sklearn.metrics import f1_score

    return float(f1_score(label, prediction, labels=[1], average="macro", zero_division=0.0))


def macro_f1(prediction: np.ndarray, label: np.ndarray) -> float:
    """Unweighted mean of the F1 of all classes that occur in `prediction` or `label`, 0 to 1."""
    from sklearn.metrics import f1_score

    return float(f1_score(label, prediction, average="macro", zero_division=0.0))


def matthews(prediction: np.ndarray, label: np.ndarray) -> float:
    """Matthews correlation, -1 to 1; 0 if all predictions or all labels are the same."""
    if np.ptp(prediction) == 0 or np.ptp(label) == 0:
        return 0.0
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(label, prediction))


def pearson(prediction: np.ndarray, label: np.ndarray) -> float:
    """Linear correlation, -1 to 1; 0 where it is undefined, i.e. if either side is constant."""
    from scipy.stats import pearsonr

    return _correlation(pearsonr, prediction, label)


def spearman(prediction: np.ndarray, label: np.ndarray) -> float:
    """Rank correlation, ties at their mean rank, -1 to 1; 0 where it is undefined, i.e. if either side is constant."""
    from scipy.stats import spearmanr

    return _correlation(spearmanr, prediction, label)


def _correlation(function: Callable, prediction: np.ndarray, label: np.ndarray) -> float:
    # float64: the variance of nearly equal float32 scores is lost in rounding.
    prediction, label = np.asarray(prediction, dtype=np.float64), np.asarray(label, dtype=np.float64)
    if len(label) < 2 or np.ptp(prediction) == 0 or np.ptp(label) == 0:
        return 0.0
    return float(function(prediction, label).statistic)


CLASSIFICATION: dict[str, Metric] = {"accuracy": accuracy, "f1": f1, "macro_f1": macro_f1, "matthews": matthews}
REGRESSION: dict[str, Metric] = {"pearson": pearson, "spearman": spearman}
METRICS = CLASSIFICATION | REGRESSION
