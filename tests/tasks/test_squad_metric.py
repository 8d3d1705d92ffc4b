"""SQuAD's metric against a second implementation that shares no code with the first."""

import string
from itertools import groupby

import numpy as np
import pytest

from plmc.tasks.squad_metric import best_threshold, evaluate, exact_match, normalise_answer, raw_scores, token_f1

PIECES = [
    "the",
    "The",
    "a",
    "an",
    "An",
    "cat",
    "Cat",
    "dog's",
    "1,000",
    "U.S.",
    "état",
    "½",
    "a–b",
    "the-end",
    "_",
    "...",
    " ",
    "\u00a0",
    "theatre",
    "anna",
    "x",
    "x",
    "",
]


def words_of(text):
    kept = "".join(c for c in text.lower() if c not in string.punctuation)
    runs = ["".join(run) for _, run in groupby(kept, key=str.isalnum)]
    return "".join(" " if run in ("a", "an", "the") else run for run in runs).split()


def slow_f1(prediction, gold, version):
    left, right = words_of(prediction), words_of(gold)
    if version == "2.0" and (not left or not right):
        return 1.0 if left == right else 0.0
    rest, same = list(right), 0
    for word in left:
        if word in rest:
            rest.remove(word)
            same += 1
    if not same:
        return 0.0
    precision, recall = same / len(left), same / len(right)
    return 2 * precision * recall / (precision + recall)


def slow_scores(prediction, golds, version):
    if version == "2.0":
        golds = [gold for gold in golds if words_of(gold)] or [""]
    exact = max(float(words_of(prediction) == words_of(gold)) for gold in golds)
    return exact, max(slow_f1(prediction, gold, version) for gold in golds)


def random_text(rng):
    separators = [" ", "  ", "", "-"]
    return "".join(rng.choice(PIECES) + rng.choice(separators) for _ in range(rng.integers(0, 5)))


@pytest.mark.parametrize("version", ["1.1", "2.0"])
def test_equals_the_second_implementation(version):
    rng = np.random.default_rng(0)
    predictions = [random_text(rng) for _ in range(1500)]
    golds = [[random_text(rng) for _ in range(rng.integers(1, 4))] for _ in predictions]
    exact, f1 = raw_scores(predictions, golds, version)
    expected = np.array([slow_scores(p, g, version) for p, g in zip(predictions, golds, strict=True)])
    np.testing.assert_array_equal(exact, expected[:, 0])
    np.testing.assert_allclose(f1, expected[:, 1], atol=1e-12)
    assert 0 < exact.mean() < 1 and 0 < f1.mean() < 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat!", "cat"),
        ("a an the", ""),
        ("U.S.", "us"),
        ("theatre", "theatre"),
        ("the-end", "theend"),
        ("an\u00a0apple", "apple"),
        ("", ""),
        ("“The” cat", "“ ” cat"),
    ],
)
def test_normalisation(text, expected):
    assert normalise_answer(text) == expected


def test_empty_answers_differ_between_the_versions():
    assert exact_match("", "the") == 1.0
    assert token_f1("", "the", "1.1") == 0.0
    assert token_f1("", "the", "2.0") == 1.0
    assert token_f1("cat", "", "2.0") == 0.0
    assert evaluate(["cat"], [["the"]], "2.0")["exact_match"] == 0.0


def test_the_best_gold_answer_counts():
    assert evaluate(["black cat"], [["dog", "the black cat", "cat"]], "1.1") == {"exact_match": 1.0, "f1": 1.0}
    assert evaluate(["black cat"], [["dog", "cat"]], "1.1") == {"exact_match": 0.0, "f1": pytest.approx(2 / 3)}


def test_the_breakdown_of_version_2_adds_up():
    predictions, golds = ["cat", "", "dog", ""], [["cat"], ["dog"], [], []]
    result = evaluate(predictions, golds, "2.0")
    assert result["has_answer_f1"] == 0.5 and result["no_answer_f1"] == 0.5 and result["f1"] == 0.5
    assert "no_answer_f1" not in evaluate(["cat"], [["cat"]], "2.0")


@pytest.mark.parametrize("seed", range(10))
def test_the_best_threshold_is_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    scores, margins = rng.random(30).round(1), rng.integers(-4, 5, 30).astype(float)  # many ties
    answerable = rng.random(30) < rng.choice([0.1, 0.5, 0.9])

    def value(threshold):
        return np.where(margins > threshold, ~answerable, np.where(answerable, scores, 0.0)).mean()

    best, threshold = best_threshold(scores * answerable, margins, answerable)
    assert best == pytest.approx(max(value(t) for t in [*margins, margins.min() - 1]))
    assert value(threshold) == pytest.approx(best)


def test_questions_without_a_span_do_not_disturb_the_threshold():
    best, threshold = best_threshold(np.array([1.0, 0.0]), np.array([0.5, np.inf]), np.array([True, False]))
    assert best == 1.0 and threshold == 0.5
