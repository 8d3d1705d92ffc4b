"""Loss and gradient of an update with weights for its rows, and the loss of each row."""

from dataclasses import dataclass, field

import pytest
import torch

from plmc.core.chain import Chain
from plmc.core.clock import Clock
from plmc.core.method import Method
from plmc.errors import TrainingError
from plmc.methods.distill.layers_kd import LayersKD
from plmc.methods.distill.logit_kd import LogitKD
from plmc.methods.distill.task_loss import TaskLoss
from plmc.methods.prune.gmp import GMP
from plmc.methods.sharpness.sam import SAM
from plmc.testing.stage import PAD, bert, equal, rig, rows
from plmc.training.batches import collate
from plmc.training.order import epoch_order


@dataclass
class Asks(Method):
    """Its gradient is what `how(compute, params)` makes it."""

    how: object = None
    told: list = field(default_factory=list)

    def gradient(self, compute, params):
        return self.how(compute, params)


def uniform(compute, params):
    count = len(compute.examples())
    return compute(torch.full((count,), 1 / count))


OTHERS = {
    "kd": lambda: {"kd": LogitKD(temperature=3.0)},
    "kd, sam and gmp": lambda: {
        "kd": LogitKD(),
        "sam": SAM(rho=0.1),
        "gmp": GMP(begin=0, end="50%", every=1, initial=0.2, final=0.5),
    },
    "layers and task": lambda: {"layers": LayersKD(), "task": TaskLoss()},
}


@pytest.mark.parametrize("micro", [None, 1, 2])
@pytest.mark.parametrize("others", OTHERS)
def test_equal_weights_are_plain_training_bit_for_bit(tmp_path, others, micro):
    def train(name, methods):
        split = rows(20)  # batches of 4, whose 1/4 is exact
        return rig(methods, tmp_path / name, split=split, teacher=bert(7), micro_batch=micro).fit()

    plain = train("plain", OTHERS[others]())
    weighted = train("weighted", {"uniform": Asks(how=uniform), **OTHERS[others]()})
    assert equal(plain.weights, weighted.weights) and plain.outcome.metrics == weighted.outcome.metrics


def gradient_of(objective, batch):
    objective.zero_grad()
    loss, _ = objective(batch, CLOCK)
    loss.backward()
    return {name: param.grad.clone() for name, param in objective.named_parameters() if param.grad is not None}


CLOCK = Clock(0, 1, 1)


@pytest.mark.parametrize("micro", [None, 1, 3])
@pytest.mark.parametrize("kind", ["classification", "span"])
def test_the_weight_of_one_row_alone_is_the_gradient_of_that_row(tmp_path, kind, micro):
    found = {}

    def how(compute, params):
        losses = compute.examples()
        loss = compute(torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0]))
        named = {id(param): name for name, param in made.trainer.objective.named_parameters()}
        found.update({named[id(param)]: param.grad.clone() for param in params})
        assert float(loss) == pytest.approx(float(losses[2]), abs=1e-6) and len(losses) == 5
        return loss

    model, split = bert(dropout=0.0, kind=kind), rows(5, kind=kind)
    made = rig(
        {"task": TaskLoss(), "asks": Asks(how=how)},
        tmp_path,
        model=model,
        split=split,
        kind=kind,
        evaluate=None,
        batch_size=5,
        micro_batch=micro,
        steps=1,
        lr=1e-30,
        select="last",
    )
    made.fit()
    order = epoch_order(split.lengths, 5, seed=1, stage=0, epoch=0)[0]
    alone = gradient_of(made.trainer.objective, collate(split, order[2:3], PAD))
    assert found.keys() == alone.keys()
    assert all(torch.allclose(found[name], alone[name], atol=1e-6) for name in alone)


@pytest.mark.parametrize("micro", [None, 1, 3])
def test_the_losses_of_the_rows_average_to_the_loss_and_cost_neither_draws_nor_gradients(tmp_path, micro):
    seen = []

    def how(compute, params):
        loss = compute()
        before, grads = torch.get_rng_state(), [param.grad.clone() for param in params]
        losses = compute.examples()
        assert torch.equal(torch.get_rng_state(), before) and not losses.requires_grad
        assert all(torch.equal(param.grad, grad) for param, grad in zip(params, grads, strict=True))
        seen.append((float(loss), float(losses.mean()), len(losses)))
        return loss

    options = {"model": bert(dropout=0.0), "teacher": bert(7), "micro_batch": micro, "split": rows(22)}
    rig({"kd": LogitKD(), "asks": Asks(how=how)}, tmp_path, **options).fit()
    assert {count for *_, count in seen} == {4, 2}
    assert all(loss == pytest.approx(mean, abs=1e-6) for loss, mean, _ in seen)


def test_without_dropout_only_there_is_a_difference(tmp_path):
    seen = []

    def how(compute, params):
        loss = compute()
        seen.append(abs(float(loss) - float(compute.examples().mean())))
        assert all(module.training for module in made.model.modules())
        return loss

    made = rig({"task": TaskLoss(), "asks": Asks(how=how)}, tmp_path, model=bert(dropout=0.4))
    made.fit()
    assert max(seen) > 1e-3


def test_weights_and_losses_pass_through_the_methods_in_between(tmp_path):
    """A weighted SAM without a climb is the weighted gradient."""
    weights = torch.tensor([0.4, 0.3, 0.2, 0.1])

    def how(compute, params):
        assert compute.examples().shape == (4,)
        return compute(weights)

    split = rows(20)
    alone = rig({"task": TaskLoss(), "asks": Asks(how=how)}, tmp_path / "alone", split=split).fit()
    wrapped = {"asks": Asks(how=how), "sam": SAM(rho=0.0), "task": TaskLoss()}
    assert equal(alone.weights, rig(wrapped, tmp_path / "wrapped", split=split).fit().weights)
    plain = rig({"task": TaskLoss()}, tmp_path / "plain", split=split).fit()
    assert not equal(alone.weights, plain.weights)


def test_the_inner_methods_own_weights_win():
    calls = []

    class Inner:
        def __call__(self, weights=None):
            calls.append(weights)
            return torch.tensor(1.0)

        def examples(self):
            return torch.arange(3.0)

    methods = {
        "outer": Asks(how=lambda compute, params: compute("outer") + compute()),
        "inner": Asks(how=lambda compute, params: compute() + compute("inner") + compute.examples().sum()),
    }
    assert float(Chain(methods).gradient(Inner(), [])) == 2 * (1 + 1 + 3)
    assert calls == ["outer", "inner", None, "inner"]


def test_a_loss_of_the_batch_as_a_whole_has_no_rows(tmp_path):
    with pytest.raises(TrainingError, match="known for each row"):
        rig({"layers": LayersKD(), "uniform": Asks(how=uniform)}, tmp_path, teacher=bert(7)).fit()


def test_weights_of_another_number_of_rows_are_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"\(3,\) weights for 4 rows"):
        rig({"task": TaskLoss(), "asks": Asks(how=lambda compute, params: compute(torch.ones(3)))}, tmp_path).fit()


@pytest.mark.parametrize("make", [lambda logits: logits, lambda logits: logits.mean(0), lambda logits: logits[:1, 0]])
def test_a_term_that_is_neither_of_rows_nor_a_scalar_is_an_error(tmp_path, make):
    class Odd(Method):
        def terms(self, clock):
            return {"odd": 1.0}

        def losses(self, view, clock):
            return {"odd": make(view.student.logits[0])}

    with pytest.raises(TrainingError, match=r"loss term odd/odd has the shape \(.*for each of the 4 rows"):
        rig({"task": TaskLoss(), "odd": Odd()}, tmp_path).fit()
