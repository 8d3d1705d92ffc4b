"""The metrics are those of scikit-learn and SciPy, and are defined where those are not."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from plmc.data.glue import GLUE
from plmc.tasks import metrics
from plmc.tasks.glue import Glue, GlueRegression
from plmc.tasks.metrics import CLASSIFICATION, REGRESSION

ORACLES = {
    "accuracy": lambda p, y: sk.accuracy_score(y, p),
    "f1": lambda p, y: sk.f1_score(y, p, pos_label=1, average="binary", zero_division=0.0),
    "macro_f1": lambda p, y: sk.f1_score(y, p, average="macro"),
    "matthews": lambda p, y: sk.matthews_corrcoef(y, p),
    "pearson": lambda p, y: stats.pearsonr(p, y)[0],
    "spearman": lambda p, y: stats.spearmanr(p, y)[0],
}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", CLASSIFICATION)
def test_classification_metrics_equal_scikit_learn(name, seed):
    rng = np.random.default_rng(seed)
    classes = 2 if name == "f1" else 2 + seed % 2
    prediction, label = rng.integers(0, classes, (2, 200))
    assert CLASSIFICATION[name](prediction, label) == pytest.approx(ORACLES[name](prediction, label), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", REGRESSION)
def test_regression_metrics_equal_scipy(name, seed):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 6, 100).astype(np.float64)  # with ties
    prediction = label + rng.normal(size=100)
    assert REGRESSION[name](prediction, label) == pytest.approx(ORACLES[name](prediction, label), abs=1e-12)


def test_one_class_only_has_no_correlation():
    label = np.array([0, 1, 1, 0, 1])
    assert metrics.matthews(np.ones(5, int), label) == 0.0
    assert metrics.matthews(label, np.ones(5, int)) == 0.0
    assert metrics.f1(np.zeros(5, int), label) == 0.0
    assert metrics.f1(np.zeros(5, int), np.zeros(5, int)) == 0.0
    assert metrics.f1(np.ones(5, int), np.ones(5, int)) == 1.0


@pytest.mark.parametrize("function", REGRESSION.values())
def test_constant_scores_have_correlation_zero(function, recwarn):
    label = np.array([0.0, 1.0, 5.0])
    assert function(np.full(3, 2.5), label) == 0.0
    assert function(label, np.full(3, 2.5)) == 0.0
    assert function(np.array([1.0]), np.array([2.0])) == 0.0
    assert not recwarn.list


@pytest.mark.parametrize("name", GLUE)
def test_a_task_names_the_official_metrics_and_selects_by_one_of_them(name):
    task = (GlueRegression if name == "stsb" else Glue)(name=name)
    assert task.metric in task.metrics
    functions = REGRESSION if name == "stsb" else CLASSIFICATION
    assert set(task.metrics) <= set(functions)
