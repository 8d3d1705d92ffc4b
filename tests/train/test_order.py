"""Several feeds in one stage: who gives which rows to which update."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plmc.testing.stage import rows
from plmc.training.batches import training_batches
from plmc.training.order import Mix, epoch_order, parts

KEY = {"seed": 3, "stage": 1}
SIZES = st.lists(st.integers(1, 40), min_size=2, max_size=4)


def mixed(kind: str, sizes, shares=None, batch: int = 8, epoch: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    feed = np.repeat(np.arange(len(sizes)), sizes)
    lengths = np.random.default_rng(0).integers(1, 30, len(feed))
    return Mix(kind, feed, shares).order(lengths, batch, **KEY, epoch=epoch), feed


def test_without_shares_shuffled_feeds_are_one():
    batches, feed = mixed("shuffled", [7, 20])
    lengths = np.random.default_rng(0).integers(1, 30, len(feed))
    plain = epoch_order(lengths, 8, **KEY, epoch=0)
    assert all(np.array_equal(one, other) for one, other in zip(batches, plain, strict=True))


@settings(max_examples=60, deadline=None)
@given(SIZES, st.sampled_from(["shuffled", "in_turn", "together"]), st.integers(4, 9), st.data())
def test_an_epoch_has_the_updates_of_all_rows_and_the_rows_of_the_shares(sizes, kind, batch, data):
    shares = data.draw(st.one_of(st.none(), st.tuples(*(st.floats(0.2, 5) for _ in sizes))), label="shares")
    batches, feed = mixed(kind, sizes, shares, batch)
    updates = -(-sum(sizes) // batch)
    assert len(batches) == updates
    counts = np.bincount(feed[np.concatenate(batches)], minlength=len(sizes))
    weights = np.array(shares or sizes, dtype=float)
    if kind == "shuffled":
        assert counts.sum() == sum(sizes) and np.abs(counts - weights / weights.sum() * sum(sizes)).max() < 1
    if kind == "in_turn":
        assert all(len(each) == batch and len(set(feed[each])) == 1 for each in batches)
        turns = np.bincount([feed[each[0]] for each in batches], minlength=len(sizes))
        assert np.abs(turns - weights / weights.sum() * updates).max() < 1
    if kind == "together":
        per_update = {tuple(np.bincount(feed[each], minlength=len(sizes))) for each in batches}
        assert len(per_update) == 1 and min(*per_update.pop()) >= 1


def test_turns_are_spread():
    batches, feed = mixed("in_turn", [60, 20], None, 10)
    assert [int(feed[each[0]]) for each in batches] == [0, 0, 1, 0, 0, 0, 1, 0]


def test_no_row_comes_twice_before_every_row_of_its_feed_came_once():
    seen = []
    for epoch in range(6):
        batches, feed = mixed("together", [30, 7], (1.0, 1.0), 8, epoch)
        seen += [row for each in batches for row in each if feed[row] == 1]
    # 6 epochs of 5 updates with 4 rows of the small feed.
    assert len(seen) == 120
    # 60 rows are three whole epochs, whose pieces of the stream follow each other.
    counts = np.bincount(np.array(seen[:60]) - 30, minlength=7)
    assert counts.max() - counts.min() <= 1 and counts.sum() == 60


def test_a_resumed_stage_goes_on_where_it_was():
    split = rows(23)
    mix = Mix("in_turn", np.repeat([0, 1], [15, 8]))
    given = {"batch_size": 4, "micro_batch": None, "pad_id": 0, "seed": 1, "stage": 0, "mix": mix}
    whole, late = training_batches(split, start=0, **given), training_batches(split, start=9, **given)
    wanted = [next(whole).parts[0].ids.tolist() for _ in range(14)][9:]
    assert [next(late).parts[0].ids.tolist() for _ in range(5)] == wanted


def test_epochs_and_seeds_differ_and_repeat():
    orders = [mixed("together", [30, 17], (2.0, 1.0), 8, epoch)[0] for epoch in (0, 1, 0)]
    flat = [np.concatenate(order).tolist() for order in orders]
    assert flat[0] == flat[2] != flat[1]


@given(st.integers(0, 200), st.lists(st.floats(0.01, 100), min_size=1, max_size=6), st.integers(0, 1))
def test_parts_add_up_and_are_near_their_shares(whole, shares, least):
    if whole < least * len(shares):
        with pytest.raises(ValueError, match="cannot be shared"):
            parts(whole, shares, least=least)
        return
    found = parts(whole, shares, least=least)
    assert found.sum() == whole and found.min() >= least
    if not least:
        assert np.abs(found - np.array(shares) / sum(shares) * whole).max() < 1 + 1e-6
