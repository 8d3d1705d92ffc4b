"""From start and end logits to the best span of every question."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plmc.core.rows import Ragged


@dataclass(frozen=True)
class Spans:
    """The best answer of each of Q questions, `(Q,)` each.

    Attributes:
        feature: its row of the logits.
        start: first and last token there.
        end: see `start`.
        score: the sum of their logits (-inf if the question has no span at all).
        null: the lowest score of "no answer" over its features.
    """

    feature: np.ndarray
    start: np.ndarray
    end: np.ndarray
    score: np.ndarray
    null: np.ndarray


def dense(column: Ragged, width: int, fill: int) -> np.ndarray:
    """A ragged column as `(N, width)`, filled up with `fill`."""
    lengths = column.lengths
    result = np.full((len(lengths), width), fill, dtype=column.values.dtype)
    result[np.arange(width) < lengths[:, None]] = column.values[column.offsets[0] : column.offsets[-1]]
    return result


def best_spans(
    start: np.ndarray, end: np.ndarray, context: np.ndarray, source: np.ndarray, *, n_best: int, max_answer_length: int
) -> Spans:
    """The best span of each question over all its features.

    Args:
        start: `(N, T)` logits.
        end: see `start`.
        context: `(N, T)` bool, True where an answer may lie.
        source: `(N,)`, the question of each feature, 0 to Q - 1, each at least once. In every feature the `n_best`
            highest starts meet the `n_best` highest ends; a span has 1 to `max_answer_length` tokens and scores the sum
            of its two logits.
    """
    rows = np.arange(len(start))
    first, last = (_top(np.where(context, logits, -np.inf), n_best) for logits in (start, end))
    length = last[:, None, :] - first[:, :, None] + 1
    allowed = (length >= 1) & (length <= max_answer_length)
    allowed &= context[rows[:, None], first][:, :, None] & context[rows[:, None], last][:, None, :]
    sums = start[rows[:, None], first][:, :, None] + end[rows[:, None], last][:, None, :]
    sums = np.where(allowed, sums, -np.inf).reshape(len(start), -1)
    best = sums.argmax(axis=1)
    score = sums[rows, best]
    # Sorted by question, then by falling score: the first of each question is its best feature.
    order = np.lexsort((rows, -score, source))
    heads = order[np.unique(source[order], return_index=True)[1]]
    questions = source.max() + 1
    null = np.full(questions, np.inf)
    np.minimum.at(null, source, start[:, 0].astype(np.float64) + end[:, 0])
    pick = (heads, best[heads])
    return Spans(
        heads, first[heads, pick[1] // last.shape[1]], last[heads, pick[1] % last.shape[1]], score[heads], null
    )


def _top(logits: np.ndarray, count: int) -> np.ndarray:
    # Stable, so that equal logits are taken in the order of their tokens.
    return np.argsort(-logits, axis=1, kind="stable")[:, :count]
