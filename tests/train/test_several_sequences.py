"""Rows of several sequences, columns of their own lengths, rows that are made anew for every update."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from several import Choose, choices

from plmc.core.rows import Ragged
from plmc.methods.distill.task_loss import TaskLoss
from plmc.methods.sharpness.sam import SAM
from plmc.teachers.cache import Wanted, look_up, stored
from plmc.teachers.live import Live
from plmc.testing.stage import HEADS, Interrupted, bert, equal, rig, rows
from plmc.training.batches import collate, evaluation_batches, training_batches

ASKED = {"micro_batch": None, "pad_id": 0, "seed": 1, "stage": 0, "start": 0}


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(0, 5), st.integers(1, 4))
def test_a_batch_holds_the_sequences_of_its_rows_in_order(count, seed, size):
    """Property, also of the parts that a batch is cut into."""
    split = choices(count, seed=seed)
    chosen = np.random.default_rng(seed).permutation(count)
    whole = collate(split, chosen, 0)
    parts = whole.cut([slice(i, i + size) for i in range(0, count, size)])
    for batch, own in [(whole, chosen), *((part, part.rows) for part in parts)]:
        mask = batch.inputs["attention_mask"].bool()
        assert batch.inputs["input_ids"].shape[1] == max(split.lengths[own])
        assert len(batch.examples) == len(own) + 1 and batch.examples[0] == 0 and batch.examples[-1] == len(mask)
        assert batch.labels.tolist() == split.labels[own].tolist() and batch.ids.tolist() == split.ids[own].tolist()
        for place, row in enumerate(own):
            wanted = [split.columns["input_ids"][i] for i in range(split.examples[row], split.examples[row + 1])]
            found = range(batch.examples[place], batch.examples[place + 1])
            assert len(found) == len(wanted)
            for i, tokens in zip(found, wanted, strict=True):
                assert batch.inputs["input_ids"][i][mask[i]].tolist() == tokens.tolist()


def test_an_epoch_has_every_row_once_and_whole():
    split = choices(11)
    stream = training_batches(split, batch_size=4, **ASKED)
    seen = np.concatenate([batch.rows for _ in range(3) for batch in next(stream).parts])
    assert sorted(seen) == list(range(11))
    assert sum(len(batch.inputs["input_ids"]) for batch in evaluation_batches(split, pad_id=0)) == split.examples[-1]


@pytest.mark.parametrize("micro", [1, 3])
def test_parts_of_an_update_make_the_same_update(tmp_path, micro):
    options = {"split": choices(14), "evaluate": None, "lr": 1e-4, "batch_size": 6}
    made = [
        rig({"choose": Choose()}, tmp_path / str(size), model=bert(dropout=0.0), micro_batch=size, **options).fit()
        for size in (None, micro)
    ]
    for step, values in made[0].logs.items():
        assert made[1].logs[step]["loss"] == pytest.approx(values["loss"], rel=1e-5)
        assert made[1].logs[step]["grad_norm"] == pytest.approx(values["grad_norm"], rel=1e-4)


def test_a_stage_over_them_resumes_bit_for_bit_and_composes(tmp_path):
    def stage(folder, **options):
        return rig({"choose": Choose(), "sam": SAM()}, folder, split=choices(14), evaluate=None, **options)

    whole = stage(tmp_path / "whole").fit()
    with pytest.raises(Interrupted):
        stage(tmp_path / "cut", checkpoint_steps=3, stop_after=3).fit()
    assert equal(stage(tmp_path / "cut").fit().weights, whole.weights)


@pytest.mark.parametrize("kind, layers", [("classification", ()), ("classification", (0, 2)), ("span", (1,))])
def test_a_teachers_stored_outputs_are_those_of_the_sequences(tmp_path, kind, layers):
    model, split = bert(7, kind=kind), choices(9)
    wanted = Wanted(HEADS[kind], layers)
    columns = stored(model, split, wanted, identity="x", pad_id=0, cache=tmp_path)
    needs = frozenset({"teacher.logits", *(["teacher.hidden_states"] if layers else [])})
    found, running = look_up(columns, split, wanted, layers=2), Live(model, needs, HEADS[kind])
    for batch in next(training_batches(split, batch_size=9, **ASKED | {"micro_batch": 4})).parts:
        one, two = found(batch), running(batch)
        mask = batch.inputs["attention_mask"].bool()
        for left, right in zip(one.logits, two.logits, strict=True):
            shown = (left[mask], right[mask]) if kind == "span" else (left, right)
            torch.testing.assert_close(*shown, rtol=1e-5, atol=1e-6)
        for layer in layers:
            torch.testing.assert_close(
                one.hidden_states[layer][mask], two.hidden_states[layer][mask], rtol=1e-5, atol=1e-6
            )


def test_columns_and_labels_may_have_lengths_of_their_own():
    split = rows(5)
    lengths = np.array([2, 0, 3, 1, 4])
    own = Ragged(np.arange(1, 11), np.concatenate([[0], np.cumsum(lengths)]))
    split = replace(split, columns={**split.columns, "positions": own}, labels=own)
    batch = collate(split, np.array([2, 0, 1]), 0)
    assert batch.inputs["positions"].tolist() == [[3, 4, 5], [1, 2, 0], [0, 0, 0]]
    assert batch.labels.tolist() == [[3, 4, 5], [1, 2, -100], [-100, -100, -100]]
    assert batch.inputs["input_ids"].shape == batch.inputs["attention_mask"].shape == (3, max(split.lengths[[2, 0, 1]]))
    alone = collate(replace(split, columns=rows(5).columns), np.array([2, 0, 1]), 0)
    assert torch.equal(alone.inputs["input_ids"], batch.inputs["input_ids"])


@dataclass(frozen=True)
class Repeated:
    """Each row once more or twice behind itself, as the draw says."""

    def draw(self, split, rows, rng):
        times = rng.integers(1, 3, len(rows))
        made = [np.tile(split.columns["input_ids"][row], n) for row, n in zip(rows, times, strict=True)]
        offsets = np.concatenate([[0], np.cumsum([len(each) for each in made])])
        columns = {"input_ids": Ragged(np.concatenate(made), offsets)}
        return replace(
            split,
            columns=columns,
            labels=split.labels[rows],
            ids=split.ids[rows],
            source=split.source[rows],
            draws=None,
        )

    def like(self, other):
        return isinstance(other, Repeated)


def test_rows_made_anew_hang_on_seed_stage_and_update_alone(tmp_path):
    split = replace(rows(14), draws=Repeated())

    def lengths(start, count, **options):
        stream = training_batches(split, batch_size=6, **ASKED | {"start": start, **options})
        return [
            [int(n) for batch in next(stream).parts for n in batch.inputs["attention_mask"].sum(-1)]
            for _ in range(count)
        ]

    whole = lengths(0, 12)
    assert lengths(5, 7) == whole[5:] and lengths(0, 12, micro_batch=2) == whole
    assert lengths(0, 12, seed=2) != whole and lengths(0, 12, stage=1) != whole
    assert len({tuple(sorted(each)) for each in whole[::3]}) > 1  # other ones in other epochs
    stage = lambda folder, **options: rig({"task": TaskLoss()}, folder, split=split, evaluate=None, **options)  # noqa: E731
    made = stage(tmp_path / "whole").fit()
    with pytest.raises(Interrupted):
        stage(tmp_path / "cut", checkpoint_steps=3, stop_after=3).fit()
    assert equal(stage(tmp_path / "cut").fit().weights, made.weights)


def test_values_of_a_rows_sequences_add_up():
    from plmc.core.view import Outputs, View

    view = View(
        HEADS["classification"],
        None,
        torch.ones(5, 4),
        {},
        Outputs(()),
        per_row={"tokens": 2.0},
        examples=np.array([0, 2, 3, 5]),
    )
    assert view.of_rows(torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0])).tolist() == [3.0, 4.0, 24.0]
    places = torch.tensor([0, 1, 1, 2, 4])
    assert view.by_row(torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0]), places, "tokens").tolist() == [3.5, 4.0, 8.0]


def test_the_choice_is_the_softmax_over_a_rows_own_sequences():
    """The method of these tests, against a loop."""
    from plmc.core.view import Outputs, View

    logits, offsets, labels = torch.randn(7, 3), np.array([0, 2, 5, 7]), torch.tensor([1, 2, 0])
    view = View(HEADS["classification"], labels, torch.ones(7, 4), {}, Outputs((logits,)), examples=offsets)
    wanted = [
        F.cross_entropy(logits[a:b, 0][None], label[None])
        for a, b, label in zip(offsets, offsets[1:], labels, strict=False)
    ]
    torch.testing.assert_close(Choose().losses(view, None)["choice"], torch.stack(wanted))
