"""What methods see of a batch: once for each part of an update, whatever computes the gradient; and further
forwards."""

import math
from dataclasses import dataclass, field

import pytest
import torch

from plmc.core.method import Method
from plmc.methods.distill.logit_kd import LogitKD
from plmc.methods.distill.task_loss import TaskLoss
from plmc.methods.prune.gmp import GMP
from plmc.methods.sharpness.sam import SAM
from plmc.testing.stage import bert, equal, rig, rows


@dataclass
class Watches(Method):
    """Keeps the tokens of every part that it observes, and counts how often `losses` is called."""

    seen: list = field(default_factory=list)
    views: list = field(default_factory=list)
    losses_called: int = 0

    def losses(self, view, clock):
        self.losses_called += 1
        return {}

    def observe(self, view, clock):
        self.seen.append((clock.step, view.batch["input_ids"].tolist()))
        self.views.append(view)


OTHERS = {
    "alone": dict,
    "sam": lambda: {"sam": SAM(rho=0.1)},
    "gmp": lambda: {"gmp": GMP(begin=0, end="50%", every=1, initial=0.2, final=0.5)},
    "sam and gmp": lambda: {"sam": SAM(rho=0.1), "gmp": GMP(begin=0, end="50%", every=1, initial=0.2, final=0.5)},
}


@pytest.mark.parametrize("micro", [None, 1, 3])
@pytest.mark.parametrize("others", OTHERS)
def test_each_part_of_an_update_is_observed_once_in_order(tmp_path, others, micro):
    watch, split = Watches(), rows(24)
    made = rig(
        {"task": TaskLoss(), "watch": watch, **OTHERS[others]()}, tmp_path, split=split, steps=12, micro_batch=micro
    ).fit()
    parts = math.ceil(4 / (micro or 4))
    assert [step for step, _ in watch.seen] == [step for step in range(12) for _ in range(parts)]
    # Two passes over 24 rows: every row twice.
    tokens = [tuple(token for token in row if token) for _, part in watch.seen for row in part]
    real = [tuple(split.columns["input_ids"][row].tolist()) for row in range(24)]
    assert sorted(tokens) == sorted(real * 2)
    assert watch.losses_called == len(watch.seen) * (2 if "sam" in others else 1)
    assert made.outcome.steps == 12


def test_what_is_observed_has_no_gradient_and_no_further_forward(tmp_path):
    watch = Watches()
    rig({"kd": LogitKD(), "watch": watch}, tmp_path, teacher=bert(7)).fit()
    for view in watch.views:
        assert not view.student.logits[0].requires_grad and view.taught.logits[0].shape == view.student.logits[0].shape
        assert view.run is None and view.labels is not None


@pytest.mark.parametrize("micro", [None, 2])
def test_observing_changes_nothing(tmp_path, micro):
    plain = rig({"task": TaskLoss()}, tmp_path / "plain", micro_batch=micro).fit()
    seen = rig({"task": TaskLoss(), "watch": Watches()}, tmp_path / "seen", micro_batch=micro).fit()
    assert equal(plain.weights, seen.weights) and plain.logs == seen.logs


@dataclass
class Further(Method):
    """Asks the student again in the way that it is told."""

    ask: object = None
    said: list = field(default_factory=list)

    def losses(self, view, clock):
        self.said.append((view, self.ask(view)))
        return {}


def further(tmp_path, ask, **options):
    method = Further(ask=ask)
    made = rig({"task": TaskLoss(), "further": method}, tmp_path, steps=2, evaluate=None, **options)
    return method, made.fit()


def test_a_further_forward_draws_other_dropout(tmp_path):
    method, _ = further(tmp_path, lambda view: view.run(), model=bert(dropout=0.3))
    assert all(not torch.equal(view.student.logits[0], again.logits[0]) for view, again in method.said)


def test_a_further_forward_without_dropout_is_the_same_and_draws_nothing(tmp_path):
    model, modes = bert(dropout=0.3), []

    def ask(view):
        before = torch.get_rng_state()
        one, two = view.run(train=False), view.run(train=False)
        assert torch.equal(one.logits[0], two.logits[0]) and torch.equal(torch.get_rng_state(), before)
        assert one.logits[0].requires_grad
        modes.append(all(module.training for module in model.modules()))
        return one

    _, made = further(tmp_path / "asked", ask, model=model)
    assert modes == [True, True]
    plain = rig({"task": TaskLoss()}, tmp_path / "plain", steps=2, evaluate=None, model=bert(dropout=0.3)).fit()
    assert equal(plain.weights, made.weights)


def test_a_further_forward_may_be_of_other_tokens(tmp_path):
    def ask(view):
        return view.run({"input_ids": view.batch["input_ids"].flip(0)}, train=False), view.run(train=False)

    method, _ = further(tmp_path, ask, split=rows(12, shortest=5, longest=5))
    for _, (other, own) in method.said:
        assert not torch.equal(other.logits[0], own.logits[0]) and other.logits[0].shape == own.logits[0].shape
