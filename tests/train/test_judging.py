"""Judged weights, what is kept, and that looking changes nothing."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import nn

from plmc.core.chain import Chain
from plmc.core.clock import Clock
from plmc.core.method import Method
from plmc.errors import TrainingError
from plmc.methods.average.swa import SWA
from plmc.methods.distill.logit_kd import LogitKD
from plmc.methods.distill.task_loss import TaskLoss
from plmc.methods.prune.gmp import GMP
from plmc.testing.stage import HEADS, bert, copy, equal, rig, rows, score
from plmc.training.evaluate import judged, logits_of

CLOCK = Clock(1, 10, 5)


class Halved(Method):
    """Judges half of every weight."""

    def weights(self, params, clock):
        return {name: value / 2 for name, value in params.items()}


def test_inside_are_the_judged_weights_and_afterwards_the_live_ones():
    model = bert()
    live = copy(model.state_dict())
    with judged(model, Chain({"half": Halved()}), CLOCK):
        assert equal(dict(model.named_parameters()), {n: live[n] / 2 for n, _ in model.named_parameters()})
    assert equal(model.state_dict(), live)


def test_live_weights_come_back_after_an_exception():
    model = bert()
    live = copy(model.state_dict())
    with pytest.raises(ZeroDivisionError), judged(model, Chain({"half": Halved()}), CLOCK):
        raise ZeroDivisionError
    assert equal(model.state_dict(), live)


def test_live_weights_come_back_when_a_method_makes_the_wrong_shape():
    class Broken(Method):
        def weights(self, params, clock):
            wrong = list(params)[5]
            return {name: torch.ones(2, 3, 7) if name == wrong else value / 2 for name, value in params.items()}

    model = bert()
    live = copy(model.state_dict())
    with pytest.raises(RuntimeError, match="size"), judged(model, Chain({"broken": Broken()}), CLOCK):
        raise AssertionError("the body must not run")
    assert equal(model.state_dict(), live)


def test_without_such_methods_no_weight_is_written():
    model = bert()
    versions = [param._version for param in model.parameters()]
    with judged(model, Chain({"task": TaskLoss()}), CLOCK):
        pass
    assert [param._version for param in model.parameters()] == versions


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_draws_no_random_number_and_restores_the_mode(training):
    model = bert().train(training)
    torch.manual_seed(3)
    np.random.seed(3)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = logits_of(model, rows(), HEADS["classification"], pad_id=0)
    assert torch.equal(torch.get_rng_state(), before) and (np.random.get_state()[1] == numpy_before).all()
    assert all(module.training is training for module in model.modules())
    assert np.array_equal(first[0], logits_of(model, rows(), HEADS["classification"], pad_id=0)[0])


def test_evaluation_restores_the_mode_after_an_exception():
    class Broken(nn.Linear):
        def forward(self, *args, **options):
            raise ZeroDivisionError

    model = Broken(2, 2).train()
    with pytest.raises(ZeroDivisionError):
        logits_of(model, rows(), HEADS["classification"], pad_id=0)
    assert model.training


def test_logits_are_in_the_order_of_the_rows_whatever_the_batches():
    model, split = bert().eval(), rows()
    logits = logits_of(model, split, HEADS["classification"], pad_id=0)[0]
    for row in (0, 7, 21):
        ids = torch.from_numpy(split.columns["input_ids"][row].copy())[None]
        kinds = torch.from_numpy(split.columns["token_type_ids"][row].copy())[None]
        with torch.no_grad():
            alone = model(input_ids=ids, token_type_ids=kinds).logits[0].numpy()
        assert np.allclose(alone, logits[row], atol=1e-6)


def test_span_logits_are_closed_on_padding():
    split = rows(kind="span")
    heads = logits_of(bert(kind="span"), split, HEADS["span"], pad_id=0)
    real = np.arange(split.lengths.max()) < split.lengths[:, None]
    assert len(heads) == 2
    for head in heads:
        assert np.isfinite(head[real]).all() and (head[~real] == -np.inf).all()


def test_how_often_one_looks_does_not_change_training(tmp_path):
    runs = [
        rig({"task": TaskLoss()}, tmp_path / str(every), eval_every=every, select="last").fit() for every in (1, 3, 100)
    ]
    assert equal(runs[0].weights, runs[1].weights) and equal(runs[0].weights, runs[2].weights)


def test_the_teacher_stays_as_it_was(tmp_path):
    teacher = bert(7)
    before = copy(teacher.state_dict())
    rig({"kd": LogitKD()}, tmp_path, teacher=teacher).fit()
    assert equal(before, teacher.state_dict())
    assert not teacher.training and all(param.grad is None for param in teacher.parameters())


@dataclass
class Marks:
    """An evaluation with given results; remembers the weights it saw."""

    values: list[float]
    seen: list[dict[str, torch.Tensor]] = field(default_factory=list)

    def __call__(self, model):
        self.seen.append(copy(model.state_dict()))
        return {"likelihood": np.float64(self.values[len(self.seen) - 1]), "other": 0.0}


def judge(folder, values, *, methods=None, **options):
    marks = Marks(values)
    made = rig(methods or {"task": TaskLoss()}, folder, evaluate=marks, eval_every=1, steps=len(values), **options)
    return made.fit(), marks


def test_best_keeps_the_best_and_the_first_of_equals(tmp_path):
    made, marks = judge(tmp_path, [0.1, 0.5, 0.3, 0.5, 0.4], select="best")
    assert (made.outcome.best_step, made.outcome.metrics) == (2, {"likelihood": 0.5, "other": 0.0})
    assert equal(made.model.state_dict(), marks.seen[1])
    assert made.outcome.steps == 5


def test_last_keeps_the_last(tmp_path):
    made, marks = judge(tmp_path, [0.1, 0.5, 0.3], select="last")
    assert (made.outcome.best_step, made.outcome.metrics["likelihood"]) == (3, 0.3)
    assert equal(made.model.state_dict(), marks.seen[2])
    assert not (tmp_path / "best.pt").exists()


@pytest.mark.parametrize("select, kept", [("best", 2), ("last", 5)])
def test_patience_counts_evaluations_without_a_new_best(tmp_path, select, kept):
    values = [0.1, 0.5, 0.3, 0.2, 0.5, 0.9, 0.9]
    made, marks = judge(tmp_path, values, select=select, patience=3)
    assert made.outcome.steps == len(marks.seen) == 5
    assert made.outcome.best_step == kept
    assert equal(made.model.state_dict(), marks.seen[kept - 1])


def test_patience_starts_anew_with_each_best(tmp_path):
    made, _ = judge(tmp_path, [0.1, 0.0, 0.2, 0.1, 0.3, 0.2, 0.2, 0.9], patience=2)
    assert (made.outcome.steps, made.outcome.best_step) == (7, 5)


def test_a_method_may_stop_the_stage(tmp_path):
    class Enough(Method):
        def after_eval(self, metrics, clock):
            return metrics["likelihood"] >= 0.5

    made, _ = judge(tmp_path, [0.1, 0.5, 0.9], methods={"task": TaskLoss(), "enough": Enough()})
    assert (made.outcome.steps, made.outcome.best_step) == (2, 2)


def pruned(folder, values, **options):
    methods = {"task": TaskLoss(), "gmp": GMP(begin=1, end=4, every=1, initial=0.2, final=0.5)}
    return judge(folder, values, methods=methods, **options)


def test_what_is_best_is_chosen_among_the_settled(tmp_path):
    made, marks = pruned(tmp_path, [0.9, 0.8, 0.7, 0.4, 0.6, 0.5])
    assert (made.outcome.best_step, made.outcome.metrics["likelihood"]) == (5, 0.6)
    assert equal(made.model.state_dict(), marks.seen[4])


@pytest.mark.parametrize("every", [1, 2])
def test_the_best_weights_with_an_average_have_it(tmp_path, every):
    scores = iter([0.9, 0.8, 0.3, 0.4, 0.2])
    made = rig(
        {"task": TaskLoss(), "swa": SWA(begin=4, every=every)},
        tmp_path,
        steps=10,
        eval_every=2,
        select="best",
        evaluate=lambda model: {"likelihood": next(scores)},
    )
    kept = {}
    keep = made.trainer._keep
    made.trainer._keep = lambda metrics: (kept.update(averaged=made.chain["swa"].metrics()["averaged"]), keep(metrics))
    made.fit()
    # The scores after updates 2 and 4 are higher, but of weights without a mean.
    assert (made.outcome.best_step, made.outcome.metrics) == (8, {"likelihood": 0.4})
    assert kept["averaged"] == 4 // every


def test_patience_waits_for_the_settled(tmp_path):
    made, _ = pruned(tmp_path, [0.9, 0.8, 0.7, 0.4, 0.3, 0.2, 0.9], patience=2)
    assert (made.outcome.steps, made.outcome.best_step) == (6, 4)


def test_a_stage_stopped_before_it_settles_keeps_what_it_judged_last(tmp_path):
    class Enough(Method):
        def after_eval(self, metrics, clock):
            return clock.step == 2

    methods = {"task": TaskLoss(), "gmp": GMP(begin=1, end=6, every=1), "enough": Enough()}
    made, marks = judge(tmp_path, [0.9, 0.8, *[0.0] * 6], methods=methods)
    assert (made.outcome.best_step, made.outcome.metrics["likelihood"]) == (2, 0.8)
    assert equal(made.model.state_dict(), marks.seen[1])


def test_a_metric_that_is_not_a_number_is_an_error(tmp_path):
    with pytest.raises(TrainingError, match="stage main, update 2: likelihood is not a number"):
        judge(tmp_path, [0.1, float("nan")])


def test_without_an_evaluation_the_last_judged_weights_are_kept(tmp_path):
    made = rig({"task": TaskLoss(), "half": Halved()}, tmp_path, evaluate=None)
    seen = {}
    made.trainer._end, end = lambda: seen.update(copy(made.model.state_dict())) or end(), made.trainer._end
    made.fit()
    assert made.outcome.metrics == {}
    params = dict(made.model.named_parameters())
    assert equal(params, {name: seen[name] / 2 for name in params})


def test_the_metrics_told_are_those_of_the_weights_left_behind(tmp_path):
    made = rig(
        {"task": TaskLoss(), "gmp": GMP(begin=1, end=4, every=1, initial=0.2, final=0.5)}, tmp_path, lr=1e-2
    ).fit()
    assert score(made.model, rows(9, seed=5)) == made.outcome.metrics


def test_the_mode_of_the_student_comes_back(tmp_path):
    for training in (True, False):
        model = bert().train(training)
        rig({"task": TaskLoss()}, tmp_path / str(training), model=model).fit()
        assert all(module.training is training for module in model.modules())


class Ends(Method):
    """Judges the live weights, and ends with other ones."""

    def weights(self, params, clock):
        return {name: value / 3 for name, value in params.items()} if clock.done else params


def test_a_result_other_than_what_was_judged_last_is_judged_once_more(tmp_path):
    plain = rig({"task": TaskLoss()}, tmp_path / "plain", select="last").fit()
    ended = rig({"task": TaskLoss(), "ends": Ends()}, tmp_path / "ends", select="last").fit()
    assert all(torch.equal(value, plain.weights[name] / 3) for name, value in ended.weights.items())
    assert ended.outcome.metrics == score(ended.model, rows(9, seed=5)) != plain.outcome.metrics
    # What was seen on the way is the same.
    assert ended.logs == plain.logs


def test_a_stage_that_keeps_its_best_evaluation_keeps_those_weights(tmp_path):
    plain = rig({"task": TaskLoss()}, tmp_path / "plain").fit()
    ended = rig({"task": TaskLoss(), "ends": Ends()}, tmp_path / "ends").fit()
    assert equal(plain.weights, ended.weights) and plain.outcome.metrics == ended.outcome.metrics


def test_a_result_that_was_judged_last_is_not_judged_again(tmp_path):
    calls = []

    def judge(model):
        calls.append(1)
        return {"likelihood": 0.5}

    rig({"task": TaskLoss(), "swa": SWA(begin="50%")}, tmp_path, evaluate=judge, select="last").fit()
    assert len(calls) == 3  # after 3, 6 and 8 updates
