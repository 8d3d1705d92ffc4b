"""Only what some method claims is trained, whatever the order of methods, and all is as before afterwards."""

import itertools
import random
from dataclasses import dataclass

import pytest
import torch

from plmc.core.method import Method
from plmc.errors import ConfigError
from plmc.methods.average.swa import SWA
from plmc.methods.distill.layers_kd import LayersKD
from plmc.methods.distill.logit_kd import LogitKD
from plmc.methods.distill.task_loss import TaskLoss
from plmc.methods.sharpness.sam import SAM
from plmc.testing.stage import bert, copy, equal, rig


@dataclass
class Ends(Method):
    """Claims the parameters whose names end so."""

    ends: tuple = ()

    def trains(self, name, param):
        return name.endswith(tuple(self.ends))


def changed(made, before):
    return {name for name, value in made.model.state_dict().items() if not torch.equal(value, before[name])}


def named(*ends):
    return {name for name, _ in bert().named_parameters() if name.endswith(ends)}


def test_what_nobody_claims_stays_bit_for_bit_and_has_no_optimizer_state(tmp_path):
    before = copy(bert().state_dict())
    made = rig({"task": TaskLoss(), "biases": Ends(ends=(".bias",))}, tmp_path, model=bert(), select="last")
    held = [param for group in made.trainer.optimizer.param_groups for param in group["params"]]
    assert {id(param) for param in held} == {
        id(param) for name, param in made.model.named_parameters() if name.endswith(".bias")
    }
    made.fit()
    assert changed(made, before) == named(".bias")
    assert made.outcome.trained_parameters == sum(param.numel() for param in held)
    assert all(param.requires_grad for param in made.model.parameters())


def test_two_that_claim_train_the_union_in_every_order(tmp_path):
    methods = {
        "task": TaskLoss,
        "biases": lambda: Ends(ends=(".bias",)),
        "head": lambda: Ends(ends=("classifier.weight",)),
        "sam": lambda: SAM(rho=0.05),
    }
    runs = [
        rig({name: methods[name]() for name in order}, tmp_path / "-".join(order), select="last").fit()
        for order in random.Random(0).sample(list(itertools.permutations(methods)), 6)
    ]
    assert all(equal(runs[0].weights, run.weights) for run in runs[1:])
    assert changed(runs[0], copy(bert().state_dict())) == named(".bias", "classifier.weight")


def test_claims_of_everything_are_plain_training(tmp_path):
    plain = rig({"task": TaskLoss()}, tmp_path / "plain").fit()
    claimed = rig({"task": TaskLoss(), "all": Ends(ends=("",))}, tmp_path / "all").fit()
    assert equal(plain.weights, claimed.weights) and plain.logs.keys() == claimed.logs.keys()


def test_what_the_model_itself_froze_is_not_trained_by_a_claim(tmp_path):
    model = bert()
    model.bert.embeddings.requires_grad_(False)
    before = copy(model.state_dict())
    made = rig({"task": TaskLoss(), "all": Ends(ends=("",))}, tmp_path, model=model, select="last").fit()
    assert not any(name.startswith("bert.embeddings") for name in changed(made, before))
    frozen = [name for name, param in made.model.named_parameters() if not param.requires_grad]
    assert frozen and all(name.startswith("bert.embeddings") for name in frozen)


def test_extra_modules_are_trained_all_the_same(tmp_path):
    methods = {"layers": LayersKD(projection="always"), "biases": Ends(ends=(".bias",))}
    made = rig(methods, tmp_path, teacher=bert(7), evaluate=None, select="last")
    before = copy(made.trainer.objective.extra.state_dict())
    made.fit()
    assert before and not equal(before, made.trainer.objective.extra.state_dict())


def test_it_resumes_bit_for_bit_with_an_average(tmp_path):
    from plmc.testing.stage import Interrupted

    def methods():
        return {"kd": LogitKD(), "biases": Ends(ends=(".bias",)), "swa": SWA(begin="30%")}

    whole = rig(methods(), tmp_path / "whole", teacher=bert(7)).fit()
    with pytest.raises(Interrupted):
        rig(methods(), tmp_path / "cut", teacher=bert(7), checkpoint_steps=3, stop_after=4).fit()
    again = rig(methods(), tmp_path / "cut", teacher=bert(7)).fit()
    assert equal(whole.weights, again.weights) and whole.outcome.metrics == again.outcome.metrics


def test_gradients_come_back_after_a_failure(tmp_path):
    class Fails(Method):
        def after_update(self, model, clock):
            raise ZeroDivisionError

    made = rig({"task": TaskLoss(), "biases": Ends(ends=(".bias",)), "fails": Fails()}, tmp_path)
    with pytest.raises(ZeroDivisionError):
        made.fit()
    assert all(param.requires_grad for param in made.model.parameters())


def test_a_claim_of_nothing_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no parameter is trained"):
        rig({"task": TaskLoss(), "nobody": Ends(ends=("nothing",))}, tmp_path)
