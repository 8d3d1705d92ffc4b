"""Half precision, on a CPU: autocast, and the loss scale of fp16."""

import math

import pytest
import torch

from plmc.core.method import Method
from plmc.errors import TrainingError
from plmc.methods.distill.layers_kd import LayersKD
from plmc.methods.distill.logit_kd import LogitKD
from plmc.methods.distill.task_loss import TaskLoss
from plmc.methods.sharpness.sam import SAM
from plmc.testing.stage import bert, equal, rig
from plmc.training.scale import GROW_AFTER, START, LossScale

METHODS = {
    "task": lambda: {"task": TaskLoss()},
    "kd": lambda: {"kd": LogitKD()},
    "layers": lambda: {"layers": LayersKD()},
    "sam": lambda: {"task": TaskLoss(), "sam": SAM()},
}


class Watch(Method):
    """The gradient of the head as the optimizer sees it, and the types of the logits and hidden states."""

    needs = frozenset({"hidden_states"})
    order = 1

    def __init__(self):
        super().__init__()
        self.grads, self.types = [], set()

    def losses(self, view, clock):
        self.types |= {view.student.logits[0].dtype, view.student.hidden_states[-1].dtype}
        return {}

    def gradient(self, compute, params):
        loss = compute()
        self.grads.append(params[-2].grad.clone())
        return loss


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains_close_to_full(tmp_path, name, precision):
    runs = {
        kind: rig(METHODS[name](), tmp_path / kind, model=bert(dropout=0.0), teacher=bert(7), precision=kind).fit()
        for kind in ("fp32", precision)
    }
    half, full = runs[precision], runs["fp32"]
    assert all(value.dtype == torch.float32 for value in half.weights.values())
    assert not equal(half.weights, full.weights)
    assert half.logs[1]["loss"] == pytest.approx(full.logs[1]["loss"], rel=0.02)
    assert all(math.isfinite(value) for values in half.logs.values() for value in values.values())


@pytest.mark.parametrize(
    "precision, inside", [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_the_blocks_run_in_the_precision_asked_for_and_losses_in_float32(tmp_path, precision, inside):
    watch = Watch()
    made = rig({"task": TaskLoss(), "watch": watch}, tmp_path, precision=precision, steps=1)
    kinds = []
    made.model.bert.encoder.layer[0].attention.self.query.register_forward_hook(
        lambda m, i, out: kinds.append(out.dtype)
    )
    made.fit()
    # Evaluation is in float32 whatever the precision.
    assert (kinds[0], kinds[-1]) == (inside, torch.float32)
    assert torch.float32 in watch.types and all(grad.dtype == torch.float32 for grad in watch.grads)


def test_the_loss_scale_leaves_no_trace_in_the_gradient(tmp_path):
    watches = {}
    for kind in ("fp32", "fp16"):
        watches[kind] = Watch()
        methods = {"watch": watches[kind], "task": TaskLoss()}
        rig(methods, tmp_path / kind, model=bert(dropout=0.0), precision=kind, steps=1, evaluate=None).fit()
    full, half = watches["fp32"].grads[0], watches["fp16"].grads[0]
    assert float((half - full).norm() / full.norm()) < 0.01


class Overflow(Method):
    """Spoils the gradient of the updates in `at`."""

    def __init__(self, at):
        super().__init__()
        self.at, self.step = set(at), 0

    def gradient(self, compute, params):
        loss = compute()
        self.step += 1
        if self.step in self.at:
            params[0].grad[0, 0] = math.inf
        return loss


def test_an_overflow_halves_the_scale_and_skips_the_update(tmp_path):
    weights = {}

    class Note(Method):
        order = 1

        def after_update(self, model, clock):
            weights[clock.step] = {name: param.detach().clone() for name, param in model.named_parameters()}

    methods = {"task": TaskLoss(), "spoil": Overflow({3, 4}), "note": Note()}
    made = rig(methods, tmp_path, precision="fp16", warmup=0).fit()
    assert equal(weights[2], weights[3]) and equal(weights[3], weights[4])
    assert not equal(weights[4], weights[5]) and not equal(weights[1], weights[2])
    assert made.trainer.scale.value == START / 4
    assert made.outcome.steps == 8
    assert [step for step, values in made.logs.items() if "grad_norm" not in values] == [3, 4]


def test_the_same_overflow_is_an_error_in_full_precision(tmp_path):
    with pytest.raises(TrainingError, match="update 3: grad_norm is inf"):
        rig({"task": TaskLoss(), "spoil": Overflow({3})}, tmp_path).fit()


def test_a_run_that_only_overflows_is_an_error(tmp_path):
    methods = {"task": TaskLoss(), "spoil": Overflow(range(100))}
    with pytest.raises(TrainingError, match="precision=bf16"):
        rig(methods, tmp_path, precision="fp16", steps=30, evaluate=None).fit()


def test_the_scale_grows_after_enough_good_updates():
    scale, fine = LossScale("fp16"), torch.tensor(1.0)
    assert all(scale.accepts(fine) for _ in range(GROW_AFTER - 1)) and scale.value == START
    assert scale.accepts(fine) and scale.value == 2 * START
    assert not scale.accepts(torch.tensor(math.nan)) and (scale.value, scale.good) == (START, 0)


def test_the_scale_goes_on_where_it_was():
    one, two = LossScale("fp16"), LossScale("fp16")
    for norm in (1.0, math.inf, 1.0):
        one.accepts(torch.tensor(norm))
    two.load_state_dict(one.state_dict())
    assert (two.value, two.good) == (START / 2, 1)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_without_fp16_there_is_no_scale(precision):
    scale, param = LossScale(precision), torch.nn.Parameter(torch.ones(2))
    param.grad = torch.full((2,), 3.0)
    scale.undo([param])
    assert scale.value == 1.0 and param.grad.tolist() == [3.0, 3.0]
    assert scale.accepts(torch.tensor(math.inf)) and scale.accepts(None)
