"""Distillation, pruning and averaging in any listed order are the same training."""

import itertools

import pytest

from plmc.methods.average.swa import SWA
from plmc.methods.distill.logit_kd import LogitKD
from plmc.methods.prune.gmp import GMP
from plmc.models.encoder import pruned_linears
from plmc.testing.stage import bert, equal, rig

TARGET = 0.8


def listed(names):
    made = {
        "kd": lambda: LogitKD(),
        "gmp": lambda: GMP(begin="10%", end="60%", every=1, initial=0.3, final=TARGET),
        "swa": lambda: SWA(begin="60%"),
    }
    return {name: made[name]() for name in names}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    def train(names):
        folder = tmp_path_factory.mktemp("run")
        return rig(listed(names), folder, teacher=bert(7), steps=10, select="last").fit()

    return {names: train(names) for names in itertools.permutations(["kd", "gmp", "swa"])}


def test_all_six_orders_give_the_same_judged_model_bit_for_bit(trained):
    first, *others = trained.values()
    assert len(others) == 5
    assert all(equal(first.weights, other.weights) for other in others)
    assert all(first.outcome.metrics == other.outcome.metrics for other in others)


def test_the_judged_average_is_as_sparse_as_was_asked(trained):
    for run in trained.values():
        weights = [linear.weight for linear in pruned_linears(run.model).values()]
        zeros = sum(int((weight == 0).sum()) for weight in weights)
        assert zeros == round(TARGET * sum(weight.numel() for weight in weights))
