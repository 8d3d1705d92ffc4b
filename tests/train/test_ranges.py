"""Running ranges of quantization-aware training move once an update, whatever the update is made of."""

import pytest
import torch

from plmc.methods.distill.task_loss import TaskLoss
from plmc.methods.quant.modules import Range
from plmc.methods.quant.qat import QAT
from plmc.methods.sharpness.sam import SAM
from plmc.testing.stage import bert, rig, rows

SCHEMES = pytest.mark.parametrize("scheme", ["q8bert", "prune_ofa", "static"])


def train(folder, scheme, *, extra=None, **options):
    # Rows of one length: padding would be part of what a range sees.
    split = rows(12, shortest=6, longest=6)
    methods = {"task": TaskLoss(), "qat": QAT(scheme=scheme), **(extra or {})}
    made = rig(
        methods,
        folder,
        model=bert(dropout=0.0),
        split=split,
        evaluate=None,
        batch_size=4,
        lr=1e-3,
        schedule="constant",
        warmup=0,
        **options,
    )
    ranges = {name: module for name, module in made.model.named_modules() if isinstance(module, Range)}
    made.trainer.fit()
    return made, {name: (float(module.low), float(module.high)) for name, module in ranges.items()}


def assert_close(one, two, tolerance):
    assert one.keys() == two.keys() and len(one) > 10
    for name, values in one.items():
        assert values == pytest.approx(two[name], rel=tolerance, abs=tolerance), name


@SCHEMES
@pytest.mark.parametrize("size", [1, 2, 3])
def test_micro_batches_are_the_same_update(tmp_path, scheme, size):
    whole, ranges = train(tmp_path / "whole", scheme, steps=1)
    parts, again = train(tmp_path / "parts", scheme, steps=1, micro_batch=size)
    assert_close(ranges, again, 1e-5)
    for step, values in whole.logs.items():
        assert parts.logs[step]["loss"] == pytest.approx(values["loss"], rel=1e-5)
        assert parts.logs[step]["grad_norm"] == pytest.approx(values["grad_norm"], rel=1e-4)


@SCHEMES
def test_after_several_updates_too(tmp_path, scheme):
    # Rounding to integers turns the last bits of a sum into steps, so the runs drift apart; ranges that moved once a
    # forward would differ by the difference between the means of 4 and of 16 numbers.
    _, ranges = train(tmp_path / "whole", scheme, steps=4)
    made, again = train(tmp_path / "parts", scheme, steps=4, micro_batch=1)
    assert made.chain["qat"]._switch.updates == 4
    assert_close(ranges, again, 5e-3)


@pytest.mark.parametrize("first", [True, False])
def test_the_climb_of_sam_does_not_move_ranges(tmp_path, first):
    made, seen = None, []
    advance = Range.advance

    def counted(self):
        seen.append((float(self.seen_low), float(self.seen_high)))
        advance(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Range, "advance", counted)
        made, ranges = train(tmp_path / "plain", "static", steps=1)
        plain, seen[:] = list(seen), []
        split = rows(12, shortest=6, longest=6)
        # So far a climb that the second pass sees other activations.
        methods = {"sam": SAM(rho=5.0), "task": TaskLoss(), "qat": QAT(scheme="static")}
        methods = methods if first else dict(reversed(methods.items()))
        made = rig(
            methods,
            tmp_path / "sam",
            model=bert(dropout=0.0),
            split=split,
            evaluate=None,
            batch_size=4,
            lr=1e-3,
            schedule="constant",
            warmup=0,
            steps=1,
        )
        made.trainer.fit()
    assert len(seen) == len(plain) == len(ranges) and seen == plain


def test_the_first_update_has_no_range_and_the_second_has_that_of_the_first(tmp_path):
    made, ranges = train(tmp_path, "static", steps=1)
    module = next(module for module in made.model.modules() if isinstance(module, Range)).train()
    far = torch.tensor([1e3, -1e3])
    assert float(module(far).max()) == pytest.approx(float(module.high), rel=1e-2)
    assert float(module.high) < 1e2
    module.switch.updates = 0
    assert torch.equal(module(far), far)
    assert float(module.eval()(far).max()) == pytest.approx(1e3, rel=1e-2)
