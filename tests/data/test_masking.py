"""Which tokens are hidden, how many, and by what."""

from __future__ import annotations

import numpy as np
import pytest

from plmc.core.rows import Ragged, Split, drawing
from plmc.data.masking import IGNORED, Masking, masking_of

V, MASK = 50, 4


def even(**options) -> Masking:
    weights = np.ones(V)
    weights[:5] = 0
    return Masking(weights=weights, ordinary=np.arange(5, V), mask_id=MASK, **options)


def tokens(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, V, count)


@pytest.mark.parametrize("count", [1, 7, 20, 1000])
def test_the_number_is_the_share_of_all_tokens_rounded_up(count):
    given = np.full(count, 9)
    _, labels = even().hide(given, np.random.default_rng(0))
    assert (labels != IGNORED).sum() == int(np.ceil(0.15 * count))


def test_special_tokens_are_neither_hidden_nor_put_in_place():
    given = tokens(20_000)
    seen, labels = even().hide(given, np.random.default_rng(1))
    guessed = labels != IGNORED
    assert not np.isin(labels[guessed], np.arange(5)).any()
    assert (seen[~guessed] == given[~guessed]).all() and (labels[guessed] == given[guessed]).all()
    replaced = seen[guessed & (seen != given)]
    assert set(replaced[replaced != MASK]) <= set(range(5, V))


def test_eighty_ten_ten():
    given = np.full(60_000, 9)
    seen, labels = even().hide(given, np.random.default_rng(2))
    guessed = labels != IGNORED
    shares = [(seen[guessed] == MASK).mean(), (seen[guessed] == 9).mean()]
    # A random token is by chance the token itself once in 45 times.
    assert shares == pytest.approx([0.8, 0.1 + 0.1 / 45], abs=0.01)


def test_with_smoothing_a_token_a_hundred_times_rarer_is_hidden_25_times_as_often(tiny_tokenizer):
    counts = np.ones(len(tiny_tokenizer), dtype=np.int64)
    rare, common = tiny_tokenizer.convert_tokens_to_ids(["cat", "the"])
    counts[common] = 100
    options = {"rate": 0.02, "masked": 0.8, "random": 0.1, "smoothing": 0.7}
    masking = masking_of(tiny_tokenizer, counts, len(counts), options)
    given = np.where(np.random.default_rng(0).random(200_000) < 0.5, rare, common)
    _, labels = masking.hide(given, np.random.default_rng(3))
    often = [((labels != IGNORED) & (given == token)).sum() / (given == token).sum() for token in (rare, common)]
    assert often[0] / often[1] == pytest.approx(25.1, rel=0.15)
    assert (masking.weights[tiny_tokenizer.all_special_ids] == 0).all()


def test_fewer_ordinary_tokens_than_asked_for():
    given = np.array([0, 1, 2, 3, 4, 0, 9])
    seen, labels = even(rate=0.5).hide(given, np.random.default_rng(0))
    assert (labels != IGNORED).tolist() == [False] * 6 + [True]
    assert (even().hide(np.zeros(0, dtype=np.int64), np.random.default_rng(0))[1]).shape == (0,)


def test_the_key_alone_decides():
    offsets = np.array([0, 30, 50, 90])
    ids = Ragged(np.random.default_rng(5).integers(5, V, 90), offsets)
    split = Split({"input_ids": ids}, None, np.arange(3), None, np.arange(3), "x", draws=even())
    rows = np.array([2, 0])
    one, two, other = (split.draws.draw(split, rows, drawing(*key)) for key in ((1, 2), (1, 2), (1, 3)))
    assert (one.labels.values == two.labels.values).all() and not (one.labels.values == other.labels.values).all()
    restored = np.where(one.labels.values != IGNORED, one.labels.values, one.columns["input_ids"].values)
    assert (restored == np.concatenate([ids[2], ids[0]])).all() and one.ids.tolist() == [2, 0]
