"""Properties of the paired bootstrap, McNemar's test and the metrics behind them."""

import time

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics as oracle

from plmc.errors import DataError, PlmcError
from plmc.report.significance import holm, mcnemar, paired_bootstrap
from plmc.report.statistics import statistic


def classified(prediction, label):
    return [
        {"id": i, "prediction_id": int(p), "label": int(y)}
        for i, (p, y) in enumerate(zip(prediction, label, strict=True))
    ]


def scored(prediction, label):
    return [
        {"id": i, "prediction": float(p), "label": float(y)}
        for i, (p, y) in enumerate(zip(prediction, label, strict=True))
    ]


def noisy(rng, label, accuracy, classes=2):
    wrong = rng.random(len(label)) > accuracy
    return np.where(wrong, (label + rng.integers(1, classes, len(label))) % classes, label)


ORACLES = {
    "accuracy": oracle.accuracy_score,
    "f1": oracle.f1_score,
    "macro_f1": lambda y, p: oracle.f1_score(y, p, average="macro"),
    "matthews": oracle.matthews_corrcoef,
    "pearson": lambda y, p: scipy.stats.pearsonr(y, p).statistic,
    "spearman": lambda y, p: scipy.stats.spearmanr(y, p).statistic,
}


@pytest.mark.parametrize("metric, classes", [(m, c) for m in ORACLES for c in (2, 3) if (m, c) != ("f1", 3)])
def test_a_weighted_metric_equals_the_metric_of_repeated_rows(metric, classes):
    rng = np.random.default_rng(classes)
    label = rng.integers(0, classes, 60)
    prediction = noisy(rng, label, 0.7, classes)
    correlation = metric in ("pearson", "spearman")
    # Rounded scores: the rank correlation must get its ties right.
    score = (prediction + rng.normal(size=60)).round(1)
    records = scored(score, label) if correlation else classified(prediction, label)
    weights = rng.multinomial(60, np.ones(60) / 60, size=20).astype(np.float32)
    key = "prediction" if correlation else "prediction_id"
    values = np.array([[r[key], r["label"]] for r in records])
    expected = [ORACLES[metric](*np.repeat(values, w.astype(int), axis=0)[:, ::-1].T) for w in weights]
    np.testing.assert_allclose(statistic(metric, records)(weights), expected, atol=1e-9)


def test_span_metrics_are_means_of_the_stored_values():
    records = [{"id": i, "prediction": "a", "label": ["a"], "exact_match": i % 2, "f1": i / 4} for i in range(5)]
    weights = np.array([[1, 1, 1, 1, 1], [5, 0, 0, 0, 0], [0, 0, 0, 0, 5]], dtype=np.float32)
    np.testing.assert_allclose(statistic("f1", records)(weights), [0.5, 0, 1])
    np.testing.assert_allclose(statistic("em", records)(weights), [0.4, 0, 0])


def test_a_joined_metric_is_the_mean_of_its_parts():
    rng = np.random.default_rng(0)
    records = scored(rng.normal(size=50), rng.normal(size=50))
    weights = np.ones((1, 50), dtype=np.float32)
    parts = [statistic(name, records)(weights) for name in ("pearson", "spearman")]
    np.testing.assert_allclose(statistic("pearson+spearman", records)(weights), np.mean(parts, axis=0))


def test_identical_predictions_differ_by_nothing():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 100)
    runs = [classified(noisy(rng, label, 0.8), label) for _ in range(3)]
    difference = paired_bootstrap("f1", runs, runs, resamples=500)
    assert difference.p == 1.0
    assert (difference.value, difference.low, difference.high) == pytest.approx((0, 0, 0), abs=1e-12)


def test_swapping_the_arms_flips_the_difference_and_keeps_p():
    rng = np.random.default_rng(1)
    label = rng.integers(0, 2, 200)
    good, bad = ([classified(noisy(rng, label, a), label)] for a in (0.85, 0.75))
    there, back = (paired_bootstrap("accuracy", *pair, resamples=2000) for pair in ((good, bad), (bad, good)))
    assert there.value == pytest.approx(-back.value)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there.p == back.p


def test_interval_and_p_say_the_same():
    rng = np.random.default_rng(2)
    label = rng.integers(0, 2, 150)
    for accuracy in (0.70, 0.74, 0.78, 0.82, 0.86):
        pair = [[classified(noisy(rng, label, a), label)] for a in (accuracy, 0.70)]
        difference = paired_bootstrap("accuracy", *pair, resamples=2000)
        if abs(difference.p - 0.05) > 0.01:
            assert (difference.p < 0.05) == (difference.low > 0 or difference.high < 0)


def test_a_case_by_hand():
    # Two rows; the arm is right on both, the baseline on the second alone. A resample draws the first row k times of 2,
    # so d* is 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4, and p tends to 2 * 1/4.
    arm, baseline = classified([1, 1], [1, 1]), classified([0, 1], [1, 1])
    difference = paired_bootstrap("accuracy", [arm], [baseline], resamples=20_000)
    assert difference.value == 0.5
    assert (difference.low, difference.high) == (0.0, 1.0)
    assert difference.p == pytest.approx(0.5, abs=0.02)


def test_seeds_of_an_arm_are_averaged():
    label = np.ones(10, dtype=int)
    right, wrong = classified(label, label), classified(1 - label, label)
    difference = paired_bootstrap("accuracy", [right, right, wrong], [wrong], resamples=100)
    assert difference.value == pytest.approx(2 / 3)


def test_it_agrees_with_scipy_on_the_interval():
    rng = np.random.default_rng(3)
    label = rng.integers(0, 2, 300)
    arm, baseline = (noisy(rng, label, a) for a in (0.85, 0.78))
    ours = paired_bootstrap("accuracy", [classified(arm, label)], [classified(baseline, label)])
    gains = (arm == label).astype(float) - (baseline == label)
    theirs = scipy.stats.bootstrap((gains,), np.mean, method="percentile", rng=np.random.default_rng(0))
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.008)


def test_any_function_is_a_metric_and_a_known_name_agrees_with_it():
    rng = np.random.default_rng(4)
    label = rng.integers(0, 2, 40)
    pair = [[classified(noisy(rng, label, a), label)] for a in (0.9, 0.6)]
    named = paired_bootstrap("accuracy", *pair, resamples=300)
    called = paired_bootstrap(lambda p, y: float((p == y).mean()), *pair, resamples=300)
    for field in ("value", "low", "high", "p"):
        assert getattr(named, field) == pytest.approx(getattr(called, field))


def test_false_alarms_come_at_the_stated_rate():
    rng = np.random.default_rng(5)
    trials, alarms = 300, 0
    for trial in range(trials):
        label = rng.integers(0, 2, 200)
        pair = [[classified(noisy(rng, label, 0.8), label)] for _ in range(2)]
        alarms += paired_bootstrap("accuracy", *pair, resamples=400, seed=trial).p < 0.05
    # Three standard errors of a rate of 5 % over 300 trials are 3.8 points.
    assert 0.012 < alarms / trials < 0.088


def test_the_seed_decides_the_result_and_order_of_records_does_not():
    rng = np.random.default_rng(6)
    label = rng.integers(0, 2, 80)
    arm, baseline = (classified(noisy(rng, label, a), label) for a in (0.8, 0.7))
    first = paired_bootstrap("matthews", [arm], [baseline], resamples=200, seed=1)
    assert first == paired_bootstrap("matthews", [arm[::-1]], [baseline], resamples=200, seed=1)
    assert first != paired_bootstrap("matthews", [arm], [baseline], resamples=200, seed=2)


@pytest.mark.parametrize("metric", ["accuracy", "spearman"])
def test_ten_thousand_resamples_are_quick(metric):
    rng = np.random.default_rng(7)
    label = rng.integers(0, 2, 872)
    make = classified if metric == "accuracy" else scored
    arm, baseline = ([make(noisy(rng, label, a), label) for _ in range(3)] for a in (0.9, 0.88))
    start = time.process_time()
    paired_bootstrap(metric, arm, baseline)
    # Rank correlations sort nothing per resample but hold real-valued ranks; they may take longer than counts.
    assert time.process_time() - start < (2 if metric == "accuracy" else 8)


def test_mcnemar_is_the_exact_binomial():
    label = np.ones(30, dtype=int)
    arm, baseline = label.copy(), label.copy()
    arm[:2], baseline[2:11] = 0, 0
    p = mcnemar(classified(arm, label), classified(baseline, label))
    assert p == pytest.approx(scipy.stats.binomtest(9, 11, 0.5).pvalue)
    assert p == pytest.approx(2 * (1 + 11 + 55) / 2**11)
    assert mcnemar(classified(arm, label), classified(arm, label)) == 1.0


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5]) == [0.5]
    assert holm([]) == []


def test_runs_on_different_rows_are_refused():
    rows = classified([1, 0, 1], [1, 1, 1])
    with pytest.raises(DataError, match="same examples"):
        paired_bootstrap("accuracy", [rows], [rows[:2]])
    with pytest.raises(DataError, match="labels of the same ids"):
        paired_bootstrap("accuracy", [rows], [classified([1, 0, 1], [1, 1, 0])])
    with pytest.raises(DataError, match="no labels"):
        paired_bootstrap("accuracy", [[{"id": 0, "prediction_id": 1}]], [[{"id": 0, "prediction_id": 1}]])


def test_unknown_metrics_are_named():
    with pytest.raises(PlmcError, match="bleu"):
        paired_bootstrap("bleu", [classified([1], [1])], [classified([1], [1])])


def test_groups_are_drawn_whole():
    """Every record twice under one group says what each said once: the same difference, interval and p."""
    rng = np.random.default_rng(3)
    label = rng.integers(0, 2, 120)
    arms = [classified(noisy(rng, label, accuracy), label) for accuracy in (0.8, 0.7)]
    once = paired_bootstrap("accuracy", [arms[0]], [arms[1]], resamples=2000)

    def twice(records, **more):
        again = [{**r, **{name: r[key] for name, key in more.items()}} for r in records]
        return [{**r, "id": 1000 * k + r["id"]} for k in (0, 1) for r in again]

    grouped = paired_bootstrap("accuracy", *([twice(arm, group="id")] for arm in arms), resamples=2000)
    assert (grouped.value, grouped.low, grouped.high, grouped.p) == pytest.approx(
        (once.value, once.low, once.high, once.p), abs=1e-7
    )
    alone = paired_bootstrap("accuracy", *([twice(arm)] for arm in arms), resamples=2000)
    assert alone.high - alone.low < 0.85 * (grouped.high - grouped.low)
