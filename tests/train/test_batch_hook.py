"""Methods that change the tokens of an update: over all its rows at once, the same after a resume and in any parts."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from plmc.core.method import Method
from plmc.core.stage import Stage
from plmc.data.masking import Masking
from plmc.errors import ConfigError
from plmc.methods.distill.logit_kd import LogitKD
from plmc.methods.distill.task_loss import TaskLoss
from plmc.testing.stage import VOCABULARY, Interrupted, bert, equal, rig, rows
from plmc.training.batches import collate, training_batches


@dataclass
class Noise(Method):
    """Puts random words in place of a share of the tokens; keeps what the student was shown."""

    share: float = 0.3
    shown: list = field(default_factory=list)
    taught: list = field(default_factory=list)

    def batch(self, batch, rng, clock):
        ids = batch.inputs["input_ids"].clone()
        chosen = torch.from_numpy(rng.random(ids.shape) < self.share) & (batch.inputs["attention_mask"] == 1)
        ids[chosen] = torch.from_numpy(rng.integers(1, VOCABULARY, int(chosen.sum())))
        return replace(batch, inputs={**batch.inputs, "input_ids": ids})

    def observe(self, view, clock):
        real = view.mask.bool()
        self.shown += [
            (clock.step, row[keep].tolist()) for row, keep in zip(view.batch["input_ids"], real, strict=True)
        ]
        if view.teacher:
            self.taught.append((dict(view.batch), view.taught.logits[0]))


@dataclass
class Same(Method):
    """Changes nothing, by way of the hook."""

    def batch(self, batch, rng, clock):
        rng.random(100)
        return batch


def test_all_parts_of_an_update_show_the_same_tokens_in_the_same_order(tmp_path):
    shown = {}
    for micro in (None, 1, 3):
        noise = Noise()
        rig({"task": TaskLoss(), "noise": noise}, tmp_path / str(micro), split=rows(24), micro_batch=micro).fit()
        shown[micro] = noise.shown
    assert shown[None] == shown[1] == shown[3]
    plain = rows(24)
    tokens = {tuple(plain.columns["input_ids"][row].tolist()) for row in range(24)}
    assert any(tuple(row) not in tokens for _, row in shown[None])


def test_parts_add_up_to_the_whole_update(tmp_path):
    runs = [
        rig(
            {"task": TaskLoss(), "noise": Noise()}, tmp_path / str(micro), model=bert(dropout=0.0), micro_batch=micro
        ).fit()
        for micro in (None, 1, 3)
    ]
    for name, value in runs[0].weights.items():
        assert all(torch.allclose(value, run.weights[name], atol=2e-5) for run in runs[1:]), name


@pytest.mark.parametrize("micro", [None, 3])
def test_changing_nothing_is_plain_training_bit_for_bit(tmp_path, micro):
    plain = rig({"task": TaskLoss()}, tmp_path / "plain", micro_batch=micro).fit()
    same = rig({"task": TaskLoss(), "same": Same()}, tmp_path / "same", micro_batch=micro).fit()
    assert equal(plain.weights, same.weights) and plain.outcome.metrics == same.outcome.metrics


def test_it_resumes_bit_for_bit(tmp_path):
    def methods():
        return {"task": TaskLoss(), "noise": Noise()}

    whole = rig(methods(), tmp_path / "whole").fit()
    with pytest.raises(Interrupted):
        rig(methods(), tmp_path / "cut", checkpoint_steps=3, stop_after=4).fit()
    again = methods()
    resumed = rig(again, tmp_path / "cut").fit()
    assert equal(whole.weights, resumed.weights)
    assert again["noise"].shown == [seen for seen in whole.chain["noise"].shown if seen[0] >= 3]


def test_every_update_draws_anew_and_another_seed_otherwise(tmp_path):
    first, second = Noise(share=1.0), Noise(share=1.0)
    rig({"task": TaskLoss(), "noise": first}, tmp_path / "1", seed=1, split=rows(4), steps=4).fit()
    rig({"task": TaskLoss(), "noise": second}, tmp_path / "2", seed=2, split=rows(4), steps=4).fit()
    by_step = [sorted(row for step, row in first.shown if step == update) for update in range(4)]
    assert len({str(shown) for shown in by_step}) == 4
    assert by_step != [sorted(row for step, row in second.shown if step == update) for update in range(4)]


def test_the_teacher_reads_the_changed_tokens(tmp_path):
    noise, teacher = Noise(), bert(7)
    rig({"kd": LogitKD(), "noise": noise}, tmp_path, teacher=teacher).fit()
    assert noise.taught
    with torch.no_grad():
        for inputs, said in noise.taught:
            assert torch.equal(teacher(**inputs).logits, said)


def test_evaluation_is_of_the_rows_as_they_are(tmp_path):
    class Erases(Noise):
        def batch(self, batch, rng, clock):
            return replace(batch, inputs={**batch.inputs, "input_ids": torch.ones_like(batch.inputs["input_ids"])})

    made = rig({"task": TaskLoss(), "erases": Erases()}, tmp_path, select="last").fit()
    from plmc.testing.stage import score

    assert made.outcome.metrics == score(made.model, rows(9, seed=5))


@given(st.integers(1, 9), st.integers(1, 30), st.sampled_from(["classification", "span"]), st.booleans())
def test_a_part_is_what_its_rows_alone_make(size, count, kind, masked):
    """Property: cutting a batch equals collating the rows of each part."""
    split = rows(count, seed=count, kind=kind)
    if masked:
        split = replace(split, labels=split.columns["input_ids"])
    chosen = np.random.default_rng(size).permutation(count)
    whole = collate(split, chosen, 0)
    if masked:
        whole = replace(whole, per_row={"guessed": 1.0, "tokens": 1.0})
    parts = whole.cut([slice(start, start + size) for start in range(0, count, size)])
    assert sum(len(part.rows) for part in parts) == count
    for start, part in zip(range(0, count, size), parts, strict=True):
        alone = collate(split, chosen[start : start + size], 0)
        assert part.inputs.keys() == alone.inputs.keys()
        assert all(torch.equal(part.inputs[name], alone.inputs[name]) for name in alone.inputs)
        assert torch.equal(part.gold, alone.gold) and (part.rows == alone.rows).all() and (part.ids == alone.ids).all()


def test_labels_that_are_taken_away_are_not_counted():
    split = rows(12)
    ordinary = np.arange(1, VOCABULARY - 1)
    hide = Masking(weights=np.ones(VOCABULARY), ordinary=ordinary, mask_id=VOCABULARY - 1, rate=0.4)
    split = replace(split, labels=None, draws=hide)
    asked = {"batch_size": 6, "micro_batch": 2, "pad_id": 0, "seed": 1, "stage": 0, "start": 0}
    whole = next(training_batches(split, **{**asked, "micro_batch": None})).parts[0]

    def forget(batch, update):
        return replace(batch, labels=torch.where(torch.arange(batch.gold.shape[1]) < 3, batch.gold, -100))

    parts = next(training_batches(split, **asked, change=forget)).parts
    left = int((whole.gold[:, :3] != -100).sum())
    assert {part.per_row["guessed"] for part in parts} == {left / 6} and len(parts) == 3
    assert {part.per_row["tokens"] for part in parts} == {whole.per_row["tokens"]}


class Compares(Method):
    """A loss between rows."""

    needs = frozenset({"whole_batch"})


@pytest.mark.parametrize("micro, fits", [(None, True), (4, True), (8, True), (2, False)])
def test_a_method_that_compares_rows_refuses_parts(micro, fits):
    options = {"name": "main", "methods": {"task": TaskLoss(), "info_nce": Compares()}, "batch_size": 4}
    if fits:
        assert Stage(**options, micro_batch=micro).micro_batch == micro
        return
    with pytest.raises(ConfigError, match=r"stage main: info_nce compares.*micro_batch=2.*Set micro_batch=null"):
        Stage(**options, micro_batch=micro)
