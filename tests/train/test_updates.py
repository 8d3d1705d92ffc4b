"""One update: gradient, groups and rate."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from plmc.core.chain import Chain
from plmc.core.method import Method
from plmc.core.stage import Stage
from plmc.errors import ConfigError
from plmc.methods.distill.layers_kd import LayersKD
from plmc.methods.distill.logit_kd import LogitKD
from plmc.methods.distill.prediction_kd import PredictionKD
from plmc.methods.distill.task_loss import TaskLoss
from plmc.methods.sharpness.sam import SAM
from plmc.testing.stage import HEADS, bert, equal, rig
from plmc.training.batches import Share, collate
from plmc.training.objective import Objective
from plmc.training.optimizer import Optimizers, build_optimizer, clip, rate_factor

METHODS = {
    "task": lambda: {"task": TaskLoss()},
    "sam": lambda: {"task": TaskLoss(), "sam": SAM(rho=0.05)},
    "asam": lambda: {"task": TaskLoss(), "sam": SAM(rho=0.5, adaptive=True)},
    "kd": lambda: {"kd": LogitKD()},
}


def difference(one, two) -> float:
    return max(float((one[name] - two[name]).abs().max()) for name in one)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("micro", [4, 3])
def test_sixteen_rows_at_once_are_as_good_as_parts_of_them(tmp_path, name, micro):
    def train(folder, micro):
        options = {"batch_size": 16, "steps": 3, "lr": 1e-4, "micro_batch": micro, "evaluate": None}
        return rig(METHODS[name](), tmp_path / folder, model=bert(dropout=0.0), teacher=bert(7), **options).fit()

    whole, parts = train("whole", None), train("parts", micro)
    for step in whole.logs:
        for key, value in whole.logs[step].items():
            assert parts.logs[step][key] == pytest.approx(value, rel=1e-5, abs=1e-6), (step, key)
    # Adam divides by the gradient's own size, so where that is next to nothing (key biases have none at all in exact
    # arithmetic) rounding decides the sign of a whole step; 3 steps of 1e-4 are then the most that can differ.
    free = [name for name in whole.weights if not name.endswith("key.bias")]
    assert difference({n: whole.weights[n] for n in free}, {n: parts.weights[n] for n in free}) < 5e-6


def test_gradients_of_parts_sum_to_that_of_the_whole(tmp_path):
    def gradient(micro):
        made = rig({"task": TaskLoss()}, tmp_path, model=bert(dropout=0.0), steps=1, clip=0.0)
        seen = []
        made.trainer.optimizer.step = lambda: seen.extend(p.grad.clone() for p in made.trainer.params)
        split = made.trainer.split
        order = np.arange(16)
        made.trainer._update(
            Share([collate(split, order[i : i + micro], 0) for i in range(0, 16, micro)], split.ids[order[:16]])
        )
        return torch.cat([grad.flatten() for grad in seen])

    whole = gradient(16)
    assert float(whole.norm()) > 0.1
    for micro in (4, 5, 1):
        assert float((gradient(micro) - whole).norm() / whole.norm()) < 1e-6, micro


@pytest.mark.parametrize(
    "kind, methods",
    [
        ("classification", lambda: {"task": TaskLoss()}),
        ("classification", lambda: {"kd": LogitKD()}),
        ("span", lambda: {"task": TaskLoss()}),
        ("span", lambda: {"kd": LogitKD(temperature=3.0)}),
        ("span", lambda: {"kd": PredictionKD()}),
        ("classification", lambda: {"layers": LayersKD(attention=0.0)}),
    ],
)
def test_padding_does_not_change_the_loss(tmp_path, kind, methods):
    made = rig(
        methods(), tmp_path, model=bert(dropout=0.0, kind=kind), teacher=bert(7, kind=kind), kind=kind, evaluate=None
    )
    objective, split = made.trainer.objective.eval(), made.trainer.split
    order = np.argsort(split.lengths)[[0, 8, -1]]
    clock = made.trainer.clock
    together, terms = objective(collate(split, order, 0), clock)
    alone = [objective(collate(split, order[i : i + 1], 0), clock)[0].item() for i in range(3)]
    assert len(set(split.lengths[order])) == 3 and terms
    assert together.item() == pytest.approx(np.mean(alone), rel=1e-5)


def test_the_loss_is_the_weighted_sum_of_its_terms(tmp_path):
    made = rig({"task": TaskLoss(weight=3.0), "kd": LogitKD(alpha=0.25)}, tmp_path, teacher=bert(7), steps=2).fit()
    for values in made.logs.values():
        parts = 3 * values["loss/task/ce"] + 0.25 * values["loss/kd/ce"] + 0.75 * values["loss/kd/kl"]
        assert values["loss"] == pytest.approx(parts, rel=1e-5)


def factors(schedule, *, steps=20, warmup="20%"):
    stage = Stage(name="main", methods={}, steps=steps, schedule=schedule, warmup=warmup)
    clock = stage.clock(100)
    factor = rate_factor(stage, clock)
    return [factor(step) for step in range(steps + 1)]


def test_linear_rises_over_the_warmup_and_falls_to_nothing():
    values = factors("linear")
    assert values[0] == 0 and values[4] == 1 == max(values) and values[20] == 0
    steps = np.diff(values)
    assert np.allclose(steps[:4], 1 / 4) and np.allclose(steps[4:], -1 / 16)


def test_constant_stays_and_may_warm_up():
    assert factors("constant") == [1.0] * 21
    assert factors("constant_with_warmup") == [0, 0.25, 0.5, 0.75, *[1.0] * 17]


def test_cosine_is_half_way_at_half_time():
    values = factors("cosine", warmup=0)
    assert values[0] == 1 and values[10] == pytest.approx(0.5) and values[20] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("schedule", ["linaer", "reduce_lr_on_plateau", "warmup_stable_decay", "cosine_with_min_lr"])
def test_a_schedule_that_does_not_work_is_refused_with_those_that_do(schedule):
    with pytest.raises(ConfigError, match=f"schedule={schedule} must be linear, cosine, .* or inverse_sqrt"):
        factors(schedule)


def test_the_rate_of_every_update_is_the_schedules(tmp_path):
    made = rig({"task": TaskLoss()}, tmp_path, lr=2e-3).fit()
    expected = [made.trainer.schedule(step) * 2e-3 for step in range(8)]
    assert [made.logs[step + 1]["lr"] for step in range(8)] == expected
    assert expected[0] == 0 and max(expected) == 2e-3


def test_a_rate_of_nothing_changes_nothing(tmp_path):
    model = bert()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rig({"task": TaskLoss()}, tmp_path, model=model, lr=0.0).fit()
    assert equal(before, model.state_dict())


def objective(model=None, **methods):
    chain = Chain(methods)
    return Objective(model or bert(), chain, nn.ModuleDict(), head=HEADS["classification"]), chain


def test_biases_and_norms_do_not_decay():
    made, chain = objective()
    optimizer = build_optimizer(made, chain, Stage(name="main", methods={}, weight_decay=0.1))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert len(decay) == len(list(made.parameters()))
    for name, param in made.named_parameters():
        assert decay[id(param)] == (0.0 if name.endswith("bias") or "LayerNorm" in name else 0.1), name


class Slow(Method):
    """A tenth of the rate for the head."""

    def groups(self, name, param):
        return {"lr": 1e-4} if name.startswith("classifier.") else {}


def test_methods_set_options_of_single_parameters(tmp_path):
    made = rig({"task": TaskLoss(), "slow": Slow()}, tmp_path, schedule="constant", warmup=0, lr=1e-3, steps=1)
    made.fit()
    rates = {id(p): group["lr"] for group in made.trainer.optimizer.param_groups for p in group["params"]}
    assert {rates[id(p)] for p in made.model.classifier.parameters()} == {1e-4}
    assert {rates[id(p)] for p in made.model.bert.parameters()} == {1e-3}


def test_frozen_parameters_stay_out_and_nothing_to_train_is_refused():
    model = bert()
    model.bert.requires_grad_(False)
    made, chain = objective(model)
    stage = Stage(name="main", methods={})
    optimizer = build_optimizer(made, chain, stage)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 2
    with pytest.raises(ConfigError, match="stage main: no parameter is trained"):
        build_optimizer(objective(model.requires_grad_(False))[0], chain, stage)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("largest", [0.01, 1e3, 0.0])
def test_clipping_inside_the_step_is_clipping_before_it(fused, largest):
    def stepped(clipped):
        torch.manual_seed(0)
        layer = nn.Linear(40, 30)
        optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, eps=1e-3, fused=fused)
        for _ in range(3):
            optimizer.zero_grad(set_to_none=True)
            layer(torch.randn(8, 40)).pow(2).mean().backward()
            norm = clipped(optimizer, list(layer.parameters()))
            optimizer.step()
        return layer, norm

    ours, norm = stepped(lambda optimizer, params: clip(Optimizers({"adamw": optimizer}), params, largest))
    theirs, expected = stepped(lambda _, params: nn.utils.clip_grad_norm_(params, largest or math.inf))
    assert torch.equal(norm, expected) or fused and torch.allclose(norm, expected, rtol=1e-5)
    exact = not fused or largest != 0.01
    for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, two) if exact else torch.allclose(one, two, rtol=1e-5, atol=1e-6)
        assert torch.equal(one.grad, two.grad) if exact else torch.allclose(one.grad, two.grad, rtol=1e-4, atol=1e-7)
    # The bound matters here: without it the weights are others by far more than that.
    if largest == 0.01:
        free, _ = stepped(lambda optimizer, params: clip(Optimizers({"adamw": optimizer}), params, 0.0))
        assert (free.weight - ours.weight).abs().max() > 1e-2


def test_clipping_bounds_what_the_optimizer_sees(tmp_path):
    norms = []

    class Watch(Method):
        order = 1

        def after_update(self, model, clock):
            norms.append(math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters() if p.grad is not None)))

    made = rig({"task": TaskLoss(), "watch": Watch()}, tmp_path, clip=0.01, steps=4).fit()
    assert all(norm <= 0.01 * (1 + 1e-5) for norm in norms)
    # The curve shows the norm before the cut.
    assert all(values["grad_norm"] > 0.01 for values in made.logs.values() if "grad_norm" in values)
