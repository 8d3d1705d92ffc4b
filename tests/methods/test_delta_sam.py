"""SAM with dynamic reweighting: the properties of its specification."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from plmc.core.rows import Ragged
from plmc.errors import ConfigError
from plmc.losses.reweight import WEIGHTINGS, Nearby, first_difference, second_difference, second_over_first
from plmc.methods.average.swa import SWA
from plmc.methods.distill.layers_kd import LayersKD
from plmc.methods.distill.logit_kd import LogitKD
from plmc.methods.distill.task_loss import TaskLoss
from plmc.methods.prune.gmp import GMP
from plmc.methods.sharpness.delta_sam import DeltaSAM, moved
from plmc.methods.sharpness.sam import SAM
from plmc.testing.stage import Interrupted, bert, equal, rig, rows

DRAWN = ("second_difference", "second_over_first", "first_difference")


def train(folder, *, dropout=0.1, split=None, **methods):
    options = {name: methods.pop(name) for name in list(methods) if not hasattr(methods[name], "terms")}
    split = rows(20) if split is None else split
    return rig(methods, folder, model=bert(dropout=dropout), teacher=bert(7), split=split, **options)


@pytest.mark.parametrize("weighting", [*DRAWN, "uniform"])
def test_radius_zero_is_plain_training_bit_for_bit(tmp_path, weighting):
    plain = train(tmp_path / "plain", task=TaskLoss()).fit()
    still = train(tmp_path / "still", task=TaskLoss(), d=DeltaSAM(rho=0, radius=0.1, weighting=weighting)).fit()
    assert equal(plain.weights, still.weights) and plain.outcome.metrics == still.outcome.metrics


@pytest.mark.parametrize("adaptive", [False, True])
def test_uniform_weights_are_sam_bit_for_bit(tmp_path, adaptive):
    sam = train(tmp_path / "sam", kd=LogitKD(), s=SAM(rho=0.1, adaptive=adaptive)).fit()
    same = train(tmp_path / "same", kd=LogitKD(), s=DeltaSAM(rho=0.1, weighting="uniform", adaptive=adaptive)).fit()
    assert equal(sam.weights, same.weights)


@pytest.mark.parametrize("weighting", DRAWN)
def test_one_row_an_update_is_sam_bit_for_bit(tmp_path, weighting):
    options = {"batch_size": 1, "task": TaskLoss(), "evaluate": None, "select": "last"}
    sam = train(tmp_path / "sam", s=SAM(rho=0.1), **options).fit()
    same = train(tmp_path / "same", s=DeltaSAM(rho=0.1, weighting=weighting), **options).fit()
    assert equal(sam.weights, same.weights)


@pytest.mark.parametrize("weighting", DRAWN)
def test_equal_rows_are_sam(tmp_path, weighting):
    one, number = rows(1), np.arange(8)
    same = {name: Ragged(np.tile(own.values, 8), np.arange(9) * len(own.values)) for name, own in one.columns.items()}
    eight = replace(one, columns=same, labels=one.labels[0 * number], ids=number, source=0 * number)
    options = {"split": eight, "task": TaskLoss(), "dropout": 0.0, "lr": 1e-4, "evaluate": None, "select": "last"}
    sam = train(tmp_path / "sam", s=SAM(rho=0.1), **options).fit()
    same = train(tmp_path / "same", s=DeltaSAM(rho=0.1, weighting=weighting), **options).fit()
    free = {name for name in sam.weights if not name.endswith("key.bias")}
    assert max(float((sam.weights[name] - same.weights[name]).abs().max()) for name in free) < 5e-6


@pytest.mark.parametrize("weighting", DRAWN)
def test_the_weights_matter(tmp_path, weighting):
    sam = train(tmp_path / "sam", task=TaskLoss(), s=SAM(rho=0.1)).fit()
    other = train(tmp_path / "other", task=TaskLoss(), s=DeltaSAM(rho=0.1, weighting=weighting)).fit()
    assert max(float((sam.weights[name] - other.weights[name]).abs().max()) for name in sam.weights) > 1e-4


class Quadratic:
    """Rows l_i = ½ wᵀ A_i w + b_iᵀ w, as a `Compute`; counts its passes."""

    def __init__(self, count=8, size=20, *, seed=0, spread=1.2, linear=False):
        torch.manual_seed(seed)
        scales = torch.exp(spread * torch.randn(count, dtype=torch.float64))
        roots = torch.randn(count, size, size, dtype=torch.float64) / math.sqrt(size)
        self.a = 0 * roots if linear else scales[:, None, None] * (roots @ roots.mT)
        self.b = torch.randn(count, size, dtype=torch.float64)
        self.w = torch.nn.Parameter(0.05 * torch.randn(size, dtype=torch.float64))
        self.asked, self.at, self.losses = [], [], 0

    def rows(self, w):
        return 0.5 * torch.einsum("i,nij,j->n", w, self.a, w) + self.b @ w

    def gradients(self, w):
        return torch.einsum("nij,j->ni", self.a, w) + self.b

    def __call__(self, weights=None):
        self.asked.append(weights)
        self.at.append(self.w.detach().clone())
        self.w.grad = None
        values = self.rows(self.w)
        loss = values.mean() if weights is None else (values * weights).sum()
        loss.backward()
        return loss.detach()

    def examples(self):
        self.losses += 1
        return self.rows(self.w.detach())


def test_the_second_difference_of_a_quadratic_is_exact():
    problem = Quadratic()
    here, w = problem.examples(), problem.w.detach().clone()
    with moved([problem.w], 0.3, (1, 2)) as to:
        to(1.0)
        r, up = problem.w.detach() - w, problem.examples()
        to(-1.0)
        nearby = Nearby(here, up, problem.examples())
    wanted = torch.einsum("i,nij,j->n", r, problem.a, r).abs()
    torch.testing.assert_close(nearby.second, wanted)
    torch.testing.assert_close(nearby.first, (problem.gradients(problem.w.detach()) @ r).abs())
    torch.testing.assert_close(second_difference(nearby), (wanted / wanted.sum()).float())
    assert float(r.norm()) == pytest.approx(0.3, rel=1e-12)


def test_over_many_directions_the_weights_rank_as_the_traces():
    problem, total = Quadratic(count=6, size=12), 0
    for update in range(400):
        here = problem.examples()
        with moved([problem.w], 0.5, (0, update)) as to:
            to(1.0)
            up = problem.examples()
            to(-1.0)
            total = total + second_difference(Nearby(here, up, problem.examples()))
    traces = problem.a.diagonal(dim1=1, dim2=2).sum(1)
    assert total.argsort().tolist() == traces.argsort().tolist()


def test_linear_losses_have_equal_weights():
    problem = Quadratic(linear=True)
    method = DeltaSAM(rho=0.1)
    method.gradient(problem, [problem.w])
    assert problem.asked[0].tolist() == [1 / 8] * 8


@pytest.mark.parametrize("weighting", DRAWN)
def test_an_update_by_hand(weighting):
    """The climb has length rho along the weighted gradient; the gradient left is that of the plain mean at its end; the
    weights are back; three losses of each row and two backward passes."""
    problem = Quadratic()
    start = problem.w.detach().clone()
    loss = DeltaSAM(rho=0.2, radius=0.5, weighting=weighting).gradient(problem, [problem.w])
    weights, last = problem.asked
    assert last is None and problem.losses == 3
    assert (weights >= 0).all() and float(weights.sum()) == pytest.approx(1, abs=1e-6) and not weights.requires_grad
    direction = (weights.double()[:, None] * problem.gradients(start)).sum(0)
    climbed = start + 0.2 * direction / direction.norm()
    torch.testing.assert_close(problem.at[1], climbed)
    torch.testing.assert_close(problem.w.grad, problem.gradients(climbed).mean(0))
    assert torch.equal(problem.w.detach(), start) and torch.equal(problem.at[0], start)
    assert float(loss) == pytest.approx(float(problem.rows(start).mean()))


def gap(problem, direction):
    """How far the update for one direction is from the one with a climb for each row."""
    own = problem.gradients(problem.w.detach())
    own = own / own.norm(dim=1, keepdim=True)
    return float(torch.einsum("nij,nj->i", problem.a, own - direction).norm())


def test_the_climb_is_nearer_to_that_of_each_row():
    """Where the size of gradients does not hang on the curvature: mean gap below SAM's, in most batches (the figures of
    the specification, simulated there: 13.4 to 8.8, better in 89 %)."""
    ours, sams = [], []
    for seed in range(200):
        problem = Quadratic(seed=seed)
        w = problem.w.detach().clone()
        DeltaSAM(rho=0.1, radius=0.5).gradient(problem, [problem.w])
        weighted = (problem.asked[0].double()[:, None] * problem.gradients(w)).sum(0)
        plain = problem.gradients(w).mean(0)
        ours.append(gap(problem, weighted / weighted.norm()))
        sams.append(gap(problem, plain / plain.norm()))
    better = sum(a < b for a, b in zip(ours, sams, strict=True)) / len(ours)
    assert sum(ours) / sum(sams) < 0.8 and better > 0.8


def test_weights_of_the_formulas_by_hand():
    losses = Nearby(torch.tensor([1.0, 1.0]), torch.tensor([2.0, 1.5]), torch.tensor([1.0, 1.5]))
    assert second_difference(losses).tolist() == [0.5, 0.5]
    # First differences 0.5 and 0, their mean 0.25: 1 / 0.75 and 1 / 0.25.
    assert second_over_first(losses).tolist() == pytest.approx([0.25, 0.75])
    assert first_difference(losses).tolist() == pytest.approx([2 / 3, 1 / 3])
    broken = Nearby(torch.tensor([1.0, math.nan]), torch.ones(2), torch.ones(2))
    assert all(make(broken).tolist() == [0.5, 0.5] for make in WEIGHTINGS.values())


def test_no_step_at_learning_rate_zero(tmp_path):
    made = train(tmp_path, task=TaskLoss(), d=DeltaSAM(), lr=0.0).fit()
    assert equal(made.model.state_dict(), bert().state_dict())


@pytest.mark.parametrize("micro", [1, 3])
def test_parts_of_an_update_make_the_same_update(tmp_path, micro):
    options = {"dropout": 0.0, "lr": 1e-4, "evaluate": None, "select": "last"}
    methods = lambda: {"kd": LogitKD(), "d": DeltaSAM(rho=0.1, radius=2.0)}  # noqa: E731
    whole = train(tmp_path / "whole", **methods(), **options).fit()
    parts = train(tmp_path / "parts", **methods(), **options, micro_batch=micro).fit()
    for step, values in whole.logs.items():
        assert parts.logs[step]["grad_norm"] == pytest.approx(values["grad_norm"], rel=1e-3), step


@pytest.mark.parametrize("at", [3, 6])
def test_it_resumes_bit_for_bit_in_company(tmp_path, at):
    def methods():
        return {"task": TaskLoss(), "d": DeltaSAM(), "gmp": GMP(every=1), "swa": SWA()}

    whole = train(tmp_path / "whole", **methods()).fit()
    with pytest.raises(Interrupted):
        train(tmp_path / "cut", **methods(), checkpoint_steps=at, stop_after=at).fit()
    again = train(tmp_path / "cut", **methods())
    torch.manual_seed(99)
    assert equal(again.fit().weights, whole.weights)
    assert whole.logs[8]["d/rows"] == again.logs[8]["d/rows"] and 0 < whole.logs[8]["d/rows"] <= 1


def test_the_noise_hangs_on_seed_and_update_alone():
    params = [torch.nn.Parameter(torch.zeros(50)), torch.nn.Parameter(torch.zeros(3, 4))]

    def direction(*key):
        torch.manual_seed(key[0])
        with moved(params, 2.0, key) as to:
            to(1.0)
            up = torch.cat([param.detach().flatten() for param in params])
            to(-1.0)
            assert torch.equal(torch.cat([param.detach().flatten() for param in params]), -up)
        assert all((param == 0).all() for param in params)
        return up

    one = direction(1, 2)
    assert torch.equal(one, direction(1, 2)) and float(one.norm()) == pytest.approx(2.0, rel=1e-5)
    assert not torch.equal(one, direction(1, 3)) and not torch.equal(one, direction(2, 2))
    state = torch.get_rng_state()
    with moved(params, 1.0, (5, 5)) as to:
        to(1.0)
    assert torch.equal(state, torch.get_rng_state())


def test_a_loss_of_the_batch_as_a_whole_is_refused(tmp_path):
    methods = {"layers": LayersKD(), "task": TaskLoss()}
    with pytest.raises(ConfigError, match="d asks for the loss of each row, and layers compares.*~methods.d"):
        train(tmp_path, **methods, d=DeltaSAM())
    train(tmp_path, **methods, d=DeltaSAM(weighting="uniform"))
