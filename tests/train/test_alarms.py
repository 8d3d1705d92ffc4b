"""What the loop refuses and warns of."""

from dataclasses import dataclass

import pytest
import torch

from plmc.core.method import Method
from plmc.errors import TrainingError
from plmc.methods.distill.logit_kd import LogitKD
from plmc.methods.distill.task_loss import TaskLoss
from plmc.testing.stage import bert, rig, rows


@dataclass
class Extra(Method):
    """A term that is what `make` says, with weight `weight`."""

    make: object = None
    weight: float | None = 1.0

    def terms(self, clock=None):
        return {} if self.weight is None else {"extra": self.weight}

    def losses(self, view, clock):
        return {"extra": self.make(view, clock)}


def bad_at(step):
    return lambda view, clock: view.student.logits[0].mean() * (float("nan") if clock.step + 1 == step else 0.1)


@pytest.mark.parametrize("log_every", [1, 3, 100])
def test_the_first_loss_that_is_not_finite_is_told_with_its_rows(tmp_path, log_every):
    seen = {}

    def make(view, clock):
        seen[clock.step + 1] = view.batch["input_ids"]
        return bad_at(4)(view, clock)

    made = rig({"task": TaskLoss(), "odd": Extra(make=make)}, tmp_path, log_every=log_every, evaluate=None)
    with pytest.raises(TrainingError) as caught:
        made.fit()
    text = str(caught.value)
    assert "stage main, update 4: odd/extra is nan" in text
    named = {int(word) for word in text.split("batch: ")[1].split(".")[0].split(", ")}
    split = made.trainer.split
    there = {tuple(ids[ids > 0].tolist()) for ids in seen[4]}
    assert there == {tuple(split.columns["input_ids"][row].tolist()) for row, i in enumerate(split.ids) if i in named}
    assert "smaller lr" in text


def test_rows_of_all_micro_batches_are_named(tmp_path):
    methods = {"odd": Extra(make=bad_at(1))}
    with pytest.raises(TrainingError, match=r"(\d{3}, ){7}\d{3}\."):
        rig(methods, tmp_path, split=rows(24), batch_size=8, micro_batch=3, evaluate=None).fit()


def test_a_gradient_that_is_not_finite_is_told_as_such(tmp_path):
    root = Extra(make=lambda view, clock: (view.student.logits[0] * 0).abs().sqrt().sum())
    made = rig({"odd": root}, tmp_path, evaluate=None)
    with pytest.raises(TrainingError, match="update 1: grad_norm is nan"):
        made.fit()
    assert made.warnings == []


def test_an_infinite_total_is_told_although_each_term_is_finite(tmp_path):
    huge = {"odd": Extra(make=lambda view, clock: view.student.logits[0].mean() * 0 + 3e38, weight=100.0)}
    with pytest.raises(TrainingError, match="update 1: loss is inf"):
        rig(huge, tmp_path, evaluate=None).fit()


def test_a_spoiled_state_never_reaches_the_disk(tmp_path):
    methods = {"task": TaskLoss(), "odd": Extra(make=bad_at(4))}
    with pytest.raises(TrainingError):
        rig(methods, tmp_path, log_every=100, checkpoint_steps=2, evaluate=None).fit()
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["state"]
    assert state["position"]["step"] == 2
    assert all(bool(value.isfinite().all()) for value in state["objective"].values())


def test_healthy_terms_give_no_warning(tmp_path):
    assert rig({"task": TaskLoss(), "kd": LogitKD()}, tmp_path, teacher=bert(7), evaluate=None).fit().warnings == []


def test_a_term_without_gradient_is_told_once(tmp_path):
    constant = Extra(make=lambda view, clock: torch.tensor(0.25))
    made = rig({"task": TaskLoss(), "odd": constant}, tmp_path, micro_batch=1, evaluate=None).fit()
    assert len(made.warnings) == 1
    assert "odd/extra = 0.25 has no gradient" in made.warnings[0]


def test_a_gradient_of_zeros_is_no_gradient(tmp_path):
    flat = Extra(make=lambda view, clock: (view.student.logits[0] * 0).sum())
    assert "odd/extra" in rig({"task": TaskLoss(), "odd": flat}, tmp_path, evaluate=None).fit().warnings[0]


def test_a_student_that_starts_as_its_teacher_is_told(tmp_path):
    made = rig({"kd": LogitKD(alpha=0.5)}, tmp_path, model=bert(7, dropout=0.0), teacher=bert(7, dropout=0.0)).fit()
    assert len(made.warnings) == 1
    assert "kd/kl" in made.warnings[0] and "start out equal" in made.warnings[0]


def test_a_weight_of_nothing_is_told(tmp_path):
    idle = Extra(make=lambda view, clock: view.student.logits[0].mean(), weight=0.0)
    made = rig({"task": TaskLoss(), "odd": idle}, tmp_path, evaluate=None).fit()
    assert made.warnings == ["stage main: loss term odd/extra has weight 0 and trains nothing."]


def test_warnings_do_not_change_training(tmp_path):
    from plmc.testing.stage import equal

    idle = Extra(make=lambda view, clock: view.student.logits[0].mean(), weight=0.0)
    with_it = rig({"task": TaskLoss(), "odd": idle}, tmp_path / "a").fit()
    without = rig({"task": TaskLoss()}, tmp_path / "b").fit()
    assert equal(with_it.weights, without.weights)


def test_a_term_that_its_method_did_not_declare_is_an_error(tmp_path):
    methods = {"task": TaskLoss(), "odd": Extra(make=lambda view, clock: torch.tensor(1.0), weight=None)}
    with pytest.raises(TrainingError, match=r"odd/extra has no weight.*terms\(\)"):
        rig(methods, tmp_path, evaluate=None).fit()


def test_a_split_without_labels_can_be_trained_on_where_no_term_needs_them(tmp_path):
    from dataclasses import replace

    unlabelled = replace(rows(), labels=None)
    made = rig({"kd": LogitKD(alpha=0.0)}, tmp_path, teacher=bert(7), split=unlabelled, evaluate=None).fit()
    assert made.outcome.steps == 8


@dataclass
class Growing(Extra):
    """Its weight is the number of updates made."""

    def terms(self, clock):
        return {"extra": float(clock.step)}


def test_the_weight_of_a_term_is_that_of_the_update_and_a_late_one_is_not_idle(tmp_path):
    made = rig({"late": Growing(make=lambda view, clock: view.student.logits[0].square().mean())}, tmp_path).fit()
    assert made.warnings == []
    told = [(made.logs[step]["loss"], made.logs[step]["loss/late/extra"]) for step in range(1, 9)]
    assert [loss for loss, _ in told] == pytest.approx([update * term for update, (_, term) in enumerate(told)])


def test_a_term_that_never_has_a_weight_is_told(tmp_path):
    made = rig(
        {"task": TaskLoss(), "no": Extra(make=lambda view, clock: view.student.logits[0].mean(), weight=0.0)}, tmp_path
    )
    assert any("no/extra has weight 0" in text for text in made.fit().warnings)
