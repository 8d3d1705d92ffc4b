"""Stopping and going on; two trainings side by side."""

import os
import signal
import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from plmc.core.method import Method
from plmc.errors import TrainingError
from plmc.methods.average.swa import SWA
from plmc.methods.distill.layers_kd import LayersKD
from plmc.methods.distill.logit_kd import LogitKD
from plmc.methods.distill.task_loss import TaskLoss
from plmc.methods.prune.gmp import GMP
from plmc.methods.sharpness.sam import SAM
from plmc.testing.stage import Interrupted, bert, equal, rig, rows
from plmc.training.interrupt import deferred

OPTIONS = {"steps": 14, "micro_batch": 3}


def everything():
    return {
        "kd": LogitKD(),
        "layers": LayersKD(projection="always"),
        "gmp": GMP(every=1),
        "sam": SAM(),
        "swa": SWA(begin="80%"),
    }


def train(folder, methods=None, **options):
    return rig(methods or everything(), folder, teacher=bert(7), **{**OPTIONS, **options})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train(tmp_path_factory.mktemp("whole")).fit()


def stopped(folder, at, **options):
    """A process that ends in the update after the checkpoint at `at`, and another that goes on."""
    first = train(folder, checkpoint_steps=at, stop_after=at, **options)
    with pytest.raises(Interrupted):
        first.fit()
    second = train(folder, **options)
    torch.manual_seed(999)
    return first, second.fit()


# Inside an epoch, at its end, right after an evaluation, in the pruning window, in the average.
@pytest.mark.parametrize("at", [1, 3, 6, 7, 11, 12, 13])
def test_going_on_is_never_having_stopped_bit_for_bit(tmp_path, whole, at):
    first, second = stopped(tmp_path, at)
    assert equal(second.weights, whole.weights)
    assert second.outcome.metrics == whole.outcome.metrics
    assert (second.outcome.steps, second.outcome.best_step) == (whole.outcome.steps, whole.outcome.best_step)
    assert second.outcome.samples == whole.outcome.samples
    assert second.chain.metrics() == whole.chain.metrics()


def test_the_curves_of_a_stopped_run_are_those_of_the_whole(tmp_path, whole):
    first, second = stopped(tmp_path, 5)
    before = {step: values for step, values in first.logs.items() if step <= 5}
    assert list(before) == [1, 2, 3, 4, 5] and list(second.logs) == list(range(6, 15))
    assert {**before, **second.logs} == whole.logs


def test_a_checkpoint_between_two_points_of_a_curve_moves_none(tmp_path, whole):
    runs = {steps: train(tmp_path / str(steps), log_every=5, checkpoint_steps=steps).fit() for steps in (None, 4)}
    assert equal(runs[4].weights, whole.weights)
    assert all(runs[4].logs[step] == values for step, values in runs[None].logs.items())


def test_the_random_numbers_before_do_not_matter_after(tmp_path):
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(Interrupted):
        train(tmp_path, checkpoint_steps=4, stop_after=4).fit()
    kept = path.read_bytes()
    ends = []
    for seed in (1, 2):
        path.write_bytes(kept)
        made = train(tmp_path)
        torch.manual_seed(seed)
        ends.append(made.fit().weights)
    assert equal(*ends)


def test_a_stopped_early_stage_stays_stopped(tmp_path):
    def falling():
        count = iter(range(100))
        return lambda model: {"likelihood": -float(next(count))}

    options = {"methods": {"task": TaskLoss()}, "evaluate": falling(), "eval_every": 1, "patience": 2}
    made = train(tmp_path, checkpoint_steps=1, **options).fit()
    assert made.outcome.steps == 3
    again = train(tmp_path, **{**options, "evaluate": lambda model: pytest.fail("nothing is left to judge")}).fit()
    assert (again.outcome.steps, again.outcome.metrics) == (3, made.outcome.metrics)
    assert equal(again.weights, made.weights)


def test_other_rows_are_refused(tmp_path):
    with pytest.raises(Interrupted):
        train(tmp_path, checkpoint_steps=2, stop_after=2).fit()
    with pytest.raises(TrainingError, match="other training rows"):
        train(tmp_path, split=replace(rows(), fingerprint="changed")).fit()


def test_another_configuration_is_refused(tmp_path):
    with pytest.raises(Interrupted):
        train(tmp_path, checkpoint_steps=2, stop_after=2).fit()
    with pytest.raises(TrainingError, match="another configuration"):
        train(tmp_path, signature="that-run").fit()


@pytest.mark.parametrize("name", ["checkpoint.pt", "best.pt"])
def test_a_damaged_checkpoint_makes_the_stage_begin_again(name, tmp_path, whole):
    with pytest.raises(Interrupted):
        train(tmp_path, checkpoint_steps=13, stop_after=13).fit()
    path = tmp_path / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    again = train(tmp_path)
    done = again.fit()
    assert equal(done.weights, whole.weights) and done.outcome.metrics == whole.outcome.metrics
    assert done.outcome.samples == whole.outcome.samples


class Press(Method):
    """Sends Ctrl-C to this process in the first forward of one update."""

    def __init__(self, at, times=1):
        super().__init__()
        self.at, self.times = at, times

    @contextmanager
    def scope(self, model, clock):
        if clock.step + 1 == self.at:
            times, self.times = self.times, 0
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
        yield


@pytest.fixture
def ctrl_c():
    """Ctrl-C as in a terminal: shells start background jobs with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_the_update_and_leaves_a_checkpoint(tmp_path, whole, ctrl_c):
    made = train(tmp_path, {**everything(), "press": Press(5)})
    with pytest.raises(KeyboardInterrupt):
        made.fit()
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["state"]
    assert state["position"]["step"] == 5
    again = train(tmp_path, {**everything(), "press": Press(None)}).fit()
    assert equal(again.weights, whole.weights) and again.outcome.metrics == whole.outcome.metrics


def test_a_second_ctrl_c_does_not_wait(tmp_path, ctrl_c):
    made = train(tmp_path, {**everything(), "press": Press(5, times=2)}, checkpoint_steps=2)
    with pytest.raises(KeyboardInterrupt):
        made.fit()
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["state"]
    assert state["position"]["step"] == 4
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_is_left_alone_outside_the_main_thread(ctrl_c):
    seen = []

    def ask():
        with deferred() as interrupted:
            seen.extend([interrupted(), signal.getsignal(signal.SIGINT)])

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert seen == [None, signal.default_int_handler]


def test_two_runs_after_each_other_do_not_see_each_other(tmp_path, whole):
    train(tmp_path / "other", {"task": TaskLoss(), "swa": SWA()}, seed=5, model=bert(3)).fit()
    assert equal(train(tmp_path / "again").fit().weights, whole.weights)


def test_two_runs_inside_each_other_do_not_see_each_other(tmp_path):
    def calm(folder, seed):
        model, teacher = bert(seed, dropout=0.0), bert(7, dropout=0.0)
        return rig(everything(), tmp_path / folder, model=model, teacher=teacher, seed=seed, **OPTIONS)

    alone = {seed: calm(f"alone-{seed}", seed).fit() for seed in (1, 2)}
    outer, inner = calm("outer", 1), calm("inner", 2)
    tell, done = outer.trainer.progress.log, []

    def log(values, step):
        tell(values, step)
        if step == 6 and not done:
            done.append(inner.fit())

    outer.trainer.progress.log = log
    outer.fit()
    assert done and equal(inner.weights, alone[2].weights) and equal(outer.weights, alone[1].weights)
    assert outer.logs == alone[1].logs and inner.logs == alone[2].logs
