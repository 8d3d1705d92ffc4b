"""Rows of several feeds in one split."""

from __future__ import annotations

from dataclasses import replace

import datasets
import numpy as np
import pytest

from plmc.core.rows import Ragged, Split
from plmc.data.masking import Masking
from plmc.errors import ConfigError
from plmc.tasks.feeds import joined
from plmc.testing.stage import rows

MASKING = Masking(np.array([0.0, 1.0, 1.0]), np.array([1, 2]), mask_id=0)


def text(count: int) -> Split:
    """Lines without labels and without token types."""
    part = rows(count, seed=5)
    raw = part.raw.remove_columns("label")
    return replace(part, columns={"input_ids": part.columns["input_ids"]}, labels=None, raw=raw, fingerprint="text")


def test_rows_follow_each_other_and_keep_what_they_are():
    one, two = rows(7, seed=1), text(4)
    both = joined([one, two], "distil")
    assert len(both) == 11 and both.feed.tolist() == [0] * 7 + [1] * 4
    for row in range(11):
        part, number = (one, row) if row < 7 else (two, row - 7)
        assert both.columns["input_ids"][row].tolist() == part.columns["input_ids"][number].tolist()
        assert both.raw[int(both.source[row])]["text_a"] == part.raw[int(part.source[number])]["text_a"]
    assert both.labels.tolist() == [*one.labels.tolist(), -100, -100, -100, -100]
    assert both.raw["label"] == both.labels.tolist() and both.raw["id"] == list(range(11))
    assert both.columns["token_type_ids"][8].sum() == 0
    assert np.array_equal(both.ids[:7], one.ids) and len(set(both.ids)) == 11
    assert both.fingerprint != joined([two, one], "distil").fingerprint


def test_a_score_that_is_missing_is_no_number():
    one = rows(3, seed=1)
    scores = one.raw.remove_columns("label").add_column("label", [0.5, 1.0, 2.0])
    one = replace(one, labels=np.array([0.5, 1.0, 2.0], dtype=np.float32), raw=scores)
    both = joined([text(2), one], "distil")
    assert both.labels.dtype == np.float32
    assert np.isnan(both.labels[:2]).all() and both.labels[2:].tolist() == [0.5, 1.0, 2.0]


def test_without_any_labels_there_are_none():
    assert joined([text(2), text(3)], "distil").labels is None


def test_a_second_text_that_some_rows_lack_is_empty():
    one, two = rows(3), rows(2)
    pair = replace(one, raw=one.raw.add_column("text_b", ["b"] * 3))
    assert joined([two, pair], "distil").raw["text_b"] == ["", "", "b", "b", "b"]


def test_labels_of_other_types_are_one():
    one, two = rows(3), rows(2)
    named = two.raw.cast_column("label", datasets.ClassLabel(names=["a", "b", "c"]))
    both = joined([one, replace(two, raw=named)], "distil")
    assert both.raw["label"] == [*one.labels.tolist(), *two.labels.tolist()]


def test_hidden_tokens_of_one_kind_only():
    one, two = (replace(text(3), draws=MASKING) for _ in range(2))
    assert joined([one, two], "distil").draws.like(MASKING)
    with pytest.raises(ConfigError, match="in some of its feeds tokens are hidden"):
        joined([one, text(3)], "distil")
    for other in (replace(MASKING, rate=0.3), replace(MASKING, weights=np.array([0.0, 1.0, 0.5]))):
        with pytest.raises(ConfigError, match="smoothing=0"):
            joined([one, replace(two, draws=other)], "distil")


def test_rows_that_become_several_keep_their_source():
    one = rows(3)
    windows = replace(one, source=np.array([0, 0, 1]), raw=one.raw.select([0, 1]))
    both = joined([windows, rows(2)], "distil")
    assert both.source.tolist() == [0, 0, 1, 2, 3] and isinstance(both.columns["input_ids"], Ragged)


def test_rows_of_several_sequences_follow_rows_of_one():
    one, two = rows(3), rows(6, seed=1)
    two = replace(
        two, examples=np.array([0, 2, 3, 6]), labels=np.array([1, 0, 2]), ids=np.arange(3), source=np.arange(3)
    )
    whole = joined([one, two], "distil")
    assert whole.examples.tolist() == [0, 1, 2, 3, 5, 6, 9] and len(whole) == 6
    assert len(whole.columns["input_ids"]) == 9 and whole.feed.tolist() == [0, 0, 0, 1, 1, 1]
    assert whole.lengths.tolist() == [*one.lengths, *two.lengths]
    assert joined([one, one], "distil").examples is None


def test_a_group_of_one_feed_is_none_of_another():
    parts = [
        replace(rows(3), facts={"group": np.array(group), **more}) for group, more in (([0, 1, 1], {}), ([0, 0, 1], {}))
    ]
    assert joined(parts, "distil").facts["group"].tolist() == [0, 1, 1, 2, 2, 3]
    assert joined([parts[0], rows(2)], "distil").facts == {}
