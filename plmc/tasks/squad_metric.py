"""Exact match and F1 of extracted answers, as the official evaluation of SQuAD 1.1 and 2.0 defines them."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise_answer(text: str) -> str:
    """Lower case, without ASCII punctuation, articles and superfluous white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, gold: str) -> float:
    """1 if both are the same after normalisation, else 0."""
    return float(normalise_answer(prediction) == normalise_answer(gold))


def token_f1(prediction: str, gold: str, version: str) -> float:
    """F1 of the two bags of words after normalisation.

    If either is empty, version 2.0 compares them as wholes (both empty: 1), version 1.1 gives 0.
    """
    predicted, expected = normalise_answer(prediction).split(), normalise_answer(gold).split()
    if version == "2.0" and not (predicted and expected):
        return float(predicted == expected)
    common = sum((Counter(predicted) & Counter(expected)).values())
    # 2PR / (P + R) with P = common / predicted, R = common / expected.
    return 2 * common / (len(predicted) + len(expected)) if common else 0.0


def raw_scores(
    predictions: Sequence[str], golds: Sequence[Sequence[str]], version: str
) -> tuple[np.ndarray, np.ndarray]:
    """Exact match and F1 of each question, `(N,)` each: the best over its gold answers."""
    exact, f1 = np.zeros(len(predictions)), np.zeros(len(predictions))
    for row, (prediction, answers) in enumerate(zip(predictions, golds, strict=True)):
        if version == "2.0":
            # No answer is an answer: the empty one. Answers that are nothing but articles do not count.
            answers = [answer for answer in answers if normalise_answer(answer)] or [""]
        exact[row] = max((exact_match(prediction, answer) for answer in answers), default=0.0)
        f1[row] = max((token_f1(prediction, answer, version) for answer in answers), default=0.0)
    return exact, f1


def evaluate(predictions: Sequence[str], golds: Sequence[Sequence[str]], version: str) -> dict[str, float]:
    """`exact_match` and `f1`, 0 to 1; version 2.0 also for questions with and without answer, where there are any."""
    exact, f1 = raw_scores(predictions, golds, version)
    result = {"exact_match": float(exact.mean()), "f1": float(f1.mean())}
    if version == "2.0":
        answerable = np.array([bool(answers) for answers in golds])
        for name, rows in (("has_answer", answerable), ("no_answer", ~answerable)):
            if rows.any():
                result |= {f"{name}_exact_match": float(exact[rows].mean()), f"{name}_f1": float(f1[rows].mean())}
    return result


def best_threshold(scores: np.ndarray, margins: np.ndarray, answerable: np.ndarray) -> tuple[float, float]:
    """`(mean score, threshold)` of the threshold that serves these rows best; answers with margin above it are dropped.

    The threshold is chosen on the rows it is measured on, so the result is an upper bound.

    Args:
        scores: `(N,)`, what the non-empty answer of a question earns.
        margins: `(N,)`, null score minus score of that answer.
        answerable: `(N,)` bool. A dropped answer earns 1 if the question has none, else 0.
    """
    order = np.argsort(margins, kind="stable")
    ordered = margins[order]
    gains = np.where(answerable, scores, scores - 1.0)[order]
    totals = np.concatenate([[0.0], np.cumsum(gains)]) + np.sum(~answerable)
    # A threshold cannot part equal margins.
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) + 1
    counts = np.concatenate([[0], ends])
    best = int(counts[np.argmax(totals[counts])])
    # Below every margin where it is best to drop all answers.
    threshold = ordered[best - 1] if best else ordered[0] - 1.0
    return float(totals[best] / len(scores)), float(threshold)
