"""Methods name other optimizers for some parameters: they step together, and each is the library's."""

import pytest
import torch
from several import Table

from plmc.core.method import Method
from plmc.errors import ConfigError
from plmc.methods.distill.task_loss import TaskLoss
from plmc.testing.stage import PAD, Interrupted, bert, equal, rig


class Named(Method):
    """Options of the classifier."""

    def __init__(self, **options):
        super().__init__()
        self.options = options

    def groups(self, name, param):
        return self.options if name.startswith("classifier.") else {}


def stage(folder, *methods, **options):
    named = {"task": TaskLoss(), **{f"m{i}": method for i, method in enumerate(methods)}}
    given = {"schedule": "constant", "warmup": 0, "evaluate": None, "select": "last", "model": bert(dropout=0.0)}
    return rig(named, folder, **{**given, **options})


@pytest.mark.parametrize("largest", [0.0, 0.05])
def test_a_step_of_sgd_is_a_rate_times_the_gradient(tmp_path, largest):
    made = stage(tmp_path, Named(optimizer="sgd", lr=0.1, weight_decay=0.0), steps=1, clip=largest)
    before = made.model.classifier.weight.clone()
    made.fit()
    norm = made.logs[1].get("grad_norm", 1.0)
    whole = stage(tmp_path / "whole", steps=1, clip=0.0)
    whole.trainer.optimizer.step = lambda: None
    whole.fit()
    gradient = whole.model.classifier.weight.grad * (min(1.0, largest / (norm + 1e-6)) if largest else 1.0)
    torch.testing.assert_close(made.model.classifier.weight, before - 0.1 * gradient, rtol=1e-5, atol=1e-7)
    # The others are AdamW's, whose first step has the size of the rate.
    step = (made.model.bert.pooler.dense.weight - bert().bert.pooler.dense.weight).abs().max()
    assert 0.9e-3 < float(step) < 1.1e-3


@pytest.mark.parametrize("micro", [None, 1])
def test_sparse_adam_moves_the_rows_in_use_only(tmp_path, micro):
    """In one update it is Adam; afterwards rows that a batch does not have stay where they are."""
    adam = {"lr": 0.01, "weight_decay": 0.0}
    once = [
        stage(tmp_path / str(sparse), Table(sparse, **options), steps=1, micro_batch=micro, clip=0.0).fit()
        for sparse, options in ((True, {"optimizer": "sparse_adam", "lr": 0.01}), (False, adam))
    ]
    tables = [made.weights["extra.m0.weight"] for made in once]
    torch.testing.assert_close(*tables, rtol=1e-5, atol=1e-6)
    made = stage(tmp_path, Table(optimizer="sparse_adam", lr=0.01), steps=4, micro_batch=micro)
    seen, before = [], made.chain["m0"].table.weight.detach().clone()
    after = made.chain["m0"]

    def watch(model, clock):
        now = after.table.weight.detach().clone()
        used = set(after.table.weight.grad.coalesce().indices()[0].tolist()) - {PAD}
        moved = (now != (seen[-1] if seen else before)).any(1).nonzero()[:, 0].tolist()
        assert moved == sorted(used)
        seen.append(now)

    after.after_update = watch
    made.fit()
    assert len(seen) == 4


def test_several_resume_bit_for_bit(tmp_path):
    def methods():
        return Table(optimizer="sparse_adam", lr=0.01), Named(optimizer="sgd", lr=0.1, momentum=0.9)

    whole = stage(tmp_path / "whole", *methods()).fit()
    with pytest.raises(Interrupted):
        stage(tmp_path / "cut", *methods(), checkpoint_steps=3, stop_after=3).fit()
    assert equal(stage(tmp_path / "cut", *methods()).fit().weights, whole.weights)


@pytest.mark.parametrize(
    "options, text",
    [
        ({"optimizer": "lion"}, "asks for the optimizer lion; there are adamw, sgd, sparse_adam"),
        ({"optimizer": "sgd", "betas": (0.9, 0.99)}, "sgd has no option betas, which a method sets for .*classifier"),
        ({"optimizer": "sparse_adam", "weight_decay": 0.1}, "sparse_adam has no option weight_decay"),
    ],
)
def test_what_there_is_not_is_named(tmp_path, options, text):
    with pytest.raises(ConfigError, match=text):
        stage(tmp_path, Named(**options))


def test_two_that_name_one_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="both set the optimizer option 'optimizer'"):
        stage(tmp_path, Named(optimizer="sgd"), Named(optimizer="adamw"))
