"""The order of rows, and what padded batches hold."""

import itertools

import numpy as np
import pytest
import torch

from plmc.testing.stage import rows
from plmc.training.batches import collate, evaluation_batches, training_batches
from plmc.training.order import WINDOW, epoch_order

SPLIT = rows(23)


def updates(count, *, start=0, split=SPLIT, **options):
    given = {"batch_size": 4, "micro_batch": None, "pad_id": 0, "seed": 1, "stage": 0, **options}
    return [share.parts for share in itertools.islice(training_batches(split, start=start, **given), count)]


def same(one, two):
    return len(one) == len(two) and all(
        np.array_equal(a.rows, b.rows)
        and a.inputs.keys() == b.inputs.keys()
        and all(torch.equal(a.inputs[k], b.inputs[k]) for k in a.inputs)
        and torch.equal(a.labels, b.labels)
        for left, right in zip(one, two, strict=True)
        for a, b in zip(left, right, strict=True)
    )


@pytest.mark.parametrize("count, size", [(23, 4), (24, 4), (1, 4), (3, 1), (WINDOW * 2 + 5, 2), (5, 100)])
def test_an_epoch_has_each_row_once_in_even_batches(count, size):
    lengths = np.random.default_rng(0).integers(3, 40, count)
    batches = epoch_order(lengths, size, seed=3, stage=1, epoch=2)
    assert sorted(np.concatenate(batches)) == list(range(count))
    assert sorted(len(batch) for batch in batches)[1:] == [size] * (-(-count // size) - 1)


def test_the_order_is_a_function_of_seed_stage_and_epoch():
    lengths = SPLIT.lengths
    orders = {
        key: np.concatenate(epoch_order(lengths, 4, seed=key[0], stage=key[1], epoch=key[2])).tolist()
        for key in itertools.product((0, 1), repeat=3)
    }
    assert len({tuple(order) for order in orders.values()}) == 8
    torch.manual_seed(5), np.random.seed(5)
    assert orders[1, 0, 1] == np.concatenate(epoch_order(lengths, 4, seed=1, stage=0, epoch=1)).tolist()


def test_batches_inside_a_window_hold_rows_of_similar_length():
    lengths = np.random.default_rng(0).integers(3, 200, 400)
    spread = [np.ptp(lengths[batch]) for batch in epoch_order(lengths, 8, seed=0, stage=0, epoch=0)]
    assert np.mean(spread) < 10 < np.ptp(lengths)


@pytest.mark.parametrize("start", [1, 5, 6, 7, 13])
def test_skipping_equals_going(start):
    assert same(updates(20, micro_batch=3)[start:], updates(20 - start, start=start, micro_batch=3))


def test_epochs_follow_each_other_with_all_rows_in_each():
    per_epoch = 6
    seen = [np.concatenate([batch.rows for batch in update]) for update in updates(3 * per_epoch)]
    epochs = [np.concatenate(seen[i : i + per_epoch]).tolist() for i in range(0, 3 * per_epoch, per_epoch)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(23))] * 3
    assert epochs[0] != epochs[1] != epochs[2]


@pytest.mark.parametrize("micro", [1, 2, 3, 4, 9])
def test_micro_batches_are_a_partition_of_the_update(micro):
    for whole, parts in zip(updates(6), updates(6, micro_batch=micro), strict=True):
        assert all(len(part.rows) <= micro for part in parts)
        assert np.concatenate([part.rows for part in parts]).tolist() == whole[0].rows.tolist()


def test_collate_pads_to_the_longest_and_masks_the_padding():
    chosen = np.array([4, 0, 9])
    batch = collate(SPLIT, chosen, pad_id=7)
    width = SPLIT.lengths[chosen].max()
    for i, row in enumerate(chosen):
        length = SPLIT.lengths[row]
        assert batch.inputs["input_ids"][i, :length].tolist() == SPLIT.columns["input_ids"][row].tolist()
        assert batch.inputs["input_ids"][i, length:].tolist() == [7] * (width - length)
        assert batch.inputs["token_type_ids"][i].tolist() == [
            *SPLIT.columns["token_type_ids"][row],
            *[0] * (width - length),
        ]
        assert batch.inputs["attention_mask"][i].tolist() == [1] * length + [0] * (width - length)
    assert batch.labels.tolist() == SPLIT.labels[chosen].tolist()
    assert batch.ids.tolist() == (chosen + 100).tolist()


def test_collate_keeps_the_type_of_labels_and_does_without_them():
    from dataclasses import replace

    scores = replace(SPLIT, labels=SPLIT.labels.astype(np.float32))
    assert collate(scores, np.arange(3), 0).labels.dtype == torch.float32
    assert collate(replace(SPLIT, labels=None), np.arange(3), 0).labels is None
    assert collate(rows(kind="span"), np.arange(3), 0).labels.shape == (3, 2)


@pytest.mark.parametrize("tokens", [1, 9, 20, 64, 10_000])
def test_evaluation_covers_all_rows_once_within_the_token_limit(tokens):
    batches = list(evaluation_batches(SPLIT, tokens=tokens, pad_id=0))
    assert sorted(np.concatenate([batch.rows for batch in batches])) == list(range(len(SPLIT)))
    for batch in batches:
        # One row longer than the limit goes alone.
        assert batch.inputs["input_ids"].numel() <= tokens or len(batch.rows) == 1
    assert len(list(evaluation_batches(SPLIT, tokens=10_000, pad_id=0))) == 1
