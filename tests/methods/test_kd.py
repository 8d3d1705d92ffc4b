"""Task loss and logit distillation."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from plmc.core.clock import Clock
from plmc.core.view import Outputs, View
from plmc.errors import ConfigError
from plmc.losses.kl import kd_kl
from plmc.methods.distill.logit_kd import LogitKD
from plmc.methods.distill.task_loss import TaskLoss
from plmc.testing.stage import HEADS

CLOCK = Clock(0, 10, 5)
SHAPES = {"classification": [(6, 3)], "regression": [(6, 1)], "span": [(6, 7)] * 2}


def view(kind, *, with_teacher=True):
    generator = torch.Generator().manual_seed(0)
    student, teacher = (
        Outputs(tuple(torch.randn(*s, generator=generator, requires_grad=True) for s in SHAPES[kind])) for _ in range(2)
    )
    labels = {
        "classification": torch.tensor([0, 1, 2, 2, 1, 0]),
        "regression": torch.tensor([0.0, 1.0, 2.5, 5.0, 3.0, 1.5]),
        "span": torch.tensor([[0, 1], [1, 1], [2, 2], [0, 2], [1, 2], [0, 0]]),
    }[kind]
    mask = torch.ones(6, 7, dtype=torch.long)
    mask[::2, 3:] = 0
    return View(HEADS[kind], labels, mask, {}, student, teacher if with_teacher else None)


def total(method, seen):
    losses = method.losses(seen, CLOCK)
    assert losses.keys() == method.terms().keys()
    return sum(method.terms()[name] * value.mean() for name, value in losses.items())


@pytest.mark.parametrize("kind", SHAPES)
def test_alpha_one_is_fine_tuning_bit_for_bit_and_needs_no_teacher(kind):
    method = LogitKD(alpha=1.0)
    assert method.required() == frozenset()
    assert torch.equal(total(method, view(kind, with_teacher=False)), total(TaskLoss(), view(kind, with_teacher=False)))


@pytest.mark.parametrize("kind", SHAPES)
def test_alpha_zero_ignores_the_labels(kind):
    method, seen = LogitKD(alpha=0.0), view(kind)
    other = View(HEADS[kind], torch.zeros_like(seen.labels), seen.mask, {}, seen.student, seen.teacher)
    assert method.terms() == {"kl": 1.0} and method.required() == {"teacher.logits"}
    assert torch.equal(total(method, seen), total(method, other))


@pytest.mark.parametrize("kind", SHAPES)
def test_student_that_equals_the_teacher_learns_nothing_from_it(kind):
    seen = view(kind)
    same = View(
        HEADS[kind], seen.labels, seen.mask, {}, seen.student, Outputs(tuple(z.detach() for z in seen.student.logits))
    )
    loss = LogitKD(alpha=0.0, temperature=3.0).losses(same, CLOCK)["kl"].mean()
    assert loss == 0
    for found in torch.autograd.grad(loss, seen.student.logits):
        assert found.abs().max() < 1e-6


def test_both_terms_are_mixed_by_alpha():
    seen = view("classification")
    (s,), (t,) = seen.student.logits, seen.teacher.logits
    kl = (F.softmax(t / 2, -1) * (F.log_softmax(t / 2, -1) - F.log_softmax(s / 2, -1))).sum(-1).mean()
    expected = 0.3 * F.cross_entropy(s, seen.labels) + 0.7 * 4 * kl
    torch.testing.assert_close(total(LogitKD(temperature=2.0, alpha=0.3), seen), expected)


def test_regression_follows_the_score_of_the_teacher():
    seen = view("regression")
    loss = LogitKD(alpha=0.0, temperature=7.0).losses(seen, CLOCK)["kl"]
    torch.testing.assert_close(loss, (seen.student.logits[0] - seen.teacher.logits[0]).square().squeeze(-1))


@pytest.mark.parametrize(
    "fields, says",
    [
        ({"alpha": 1.5}, "alpha=1.5 must be a number 0 or more and at most 1"),
        ({"alpha": -0.1}, "alpha=-0.1 must"),
        ({"temperature": 0.0}, "temperature=0.0 must be a number greater than 0"),
    ],
)
def test_logit_kd_refuses_nonsense(fields, says):
    with pytest.raises(ConfigError, match=says):
        LogitKD(**fields)


def test_positions_a_row_matter_to_language_models_only():
    """A view of another task may carry any; its loss is a mean over rows."""
    from dataclasses import replace

    for kind in SHAPES:
        seen = view(kind)
        odd = replace(seen, per_row={"guessed": 0.25, "tokens": 0.25})
        for method in (LogitKD(), TaskLoss()):
            whole, part = method.losses(seen, CLOCK), method.losses(odd, CLOCK)
            assert all(torch.equal(whole[name], part[name]) for name in whole), (kind, method)


def test_the_first_word_of_a_vocabulary_is_distilled_like_any_other():
    """Label 0 is a word, -100 is none; a row has the sum of its words, over the words a row of the update."""
    source = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(3, 5, generator=source) for _ in range(2))
    labels = torch.tensor([0, -100, 0])
    seen = View(
        HEADS["mlm"],
        labels,
        torch.ones(2, 2),
        {},
        Outputs((student,)),
        Outputs((teacher,)),
        per_row={"guessed": 2.0},
        places=torch.tensor([0, 0, 1]),
    )
    loss = LogitKD(alpha=0.0, temperature=1.5).losses(seen, CLOCK)["kl"]
    torch.testing.assert_close(loss, kd_kl(student[[0, 2]], teacher[[0, 2]], temperature=1.5) / 2)


def test_task_loss_declares_its_weight_and_refuses_zero():
    assert TaskLoss(0.25).terms() == {"ce": 0.25}
    with pytest.raises(ConfigError, match="weight"):
        TaskLoss(0.0)


@pytest.mark.parametrize("kind", SHAPES)
def test_several_teachers_teach_with_the_mean_of_their_distances(kind):
    seen, method = view(kind), LogitKD(alpha=0.0)
    others = [Outputs(tuple(logits.detach() * factor for logits in seen.taught.logits)) for factor in (1.0, -0.5, 2.0)]
    each = [total(method, replace(seen, teacher=other, teachers={"one": other})) for other in others]
    both = total(method, replace(seen, teacher=None, teachers=dict(enumerate(others))))
    torch.testing.assert_close(both, sum(each) / 3)
    # One named teacher is the teacher, bit for bit.
    assert torch.equal(each[0], total(method, replace(seen, teacher=others[0])))
    seen = replace(seen, teachers={"one": others[0]}).seen()
    assert not any(part.requires_grad for part in seen.teachers["one"].logits)


@pytest.mark.parametrize("kind, nothing", [("classification", -100), ("regression", float("nan"))])
def test_rows_without_labels_add_nothing_to_the_gold_loss_and_all_to_the_teachers(kind, nothing):
    seen, method = view(kind), LogitKD(alpha=0.5)
    labels = seen.labels.clone()
    labels[1:3] = nothing
    plain, some = method.losses(seen, CLOCK), method.losses(replace(seen, labels=labels), CLOCK)
    assert torch.equal(some["kl"], plain["kl"])
    wanted = plain["ce"].clone()
    wanted[1:3] = 0
    assert torch.equal(some["ce"], wanted)
    some["ce"].sum().backward()
    (gradient,) = (logits.grad for logits in seen.student.logits)
    assert torch.equal(gradient[1:3], torch.zeros_like(gradient[1:3])) and gradient.isfinite().all()
