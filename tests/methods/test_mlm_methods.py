"""Masked language models: losses, distillation, the head on an encoder that stays, batches and resuming."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from language import SHAPE, V, lm, text
from loop import setting, tiny
from transformers import (
    BertConfig,
    BertForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    ElectraConfig,
    ElectraForMaskedLM,
    RobertaConfig,
    RobertaForMaskedLM,
)

from plmc.core.clock import Clock
from plmc.core.method import Method
from plmc.core.rows import drawing
from plmc.core.view import Outputs, View
from plmc.errors import ConfigError
from plmc.losses.cosine import hidden_cosine
from plmc.losses.kl import kd_kl
from plmc.methods.distill.logit_kd import LogitKD
from plmc.methods.distill.task_loss import TaskLoss
from plmc.methods.mlm.cosine_kd import CosineKD
from plmc.methods.mlm.head_only import HeadOnly
from plmc.methods.mlm.token_kd import TokenKD
from plmc.methods.prune.gmp_lrr import GMPRewind
from plmc.models import encoder
from plmc.testing.stage import HEADS, Interrupted, equal, rig
from plmc.training.batches import collate, training_batches
from plmc.training.objective import Objective


def updates(split, *, start=0, count=4, **options):
    given = {"batch_size": 8, "micro_batch": None, "pad_id": 0, "seed": 3, "stage": 0, **options}
    stream = training_batches(split, start=start, **given)
    return [next(stream).parts for _ in range(count)]


def training(folder, methods, **options):
    given = {
        "model": lm(),
        "teacher": lm(7),
        "split": text(),
        "kind": "mlm",
        "evaluate": None,
        "select": "last",
        "steps": 8,
    }
    return rig(methods, folder, **{**given, **options})


TRIPLE = {"token_kd": lambda: TokenKD(weight=5), "mlm": lambda: TaskLoss(weight=2), "cosine": CosineKD}
OFA = {"mlm": lambda: TaskLoss(weight=0.5), "token_kd": lambda: TokenKD(weight=0.5), "gmp": lambda: GMPRewind(every=1)}


def made(recipe):
    return {name: make() for name, make in recipe.items()}


# Batches.


def test_masks_are_a_function_of_seed_stage_and_update():
    whole = updates(text(), count=9)
    later = updates(text(), start=5, count=4)
    for one, two in zip(whole[5:], later, strict=True):
        assert torch.equal(one[0].inputs["input_ids"], two[0].inputs["input_ids"])
        assert torch.equal(one[0].labels, two[0].labels) and (one[0].ids == two[0].ids).all()
    other = updates(text(), count=1, seed=4)[0][0]
    assert other.labels.shape != whole[0][0].labels.shape or not torch.equal(other.labels, whole[0][0].labels)
    second_epoch = {int(i): batch[0] for batch in whole[4:8] for i in batch[0].ids}
    assert any(not torch.equal(batch[0].labels, second_epoch[int(batch[0].ids[0])].labels) for batch in whole[:4])


def test_micro_batches_see_the_same_masks():
    whole = updates(text())
    for options in ({"micro_batch": 3}, {"micro_batch": 1}):
        for one, parts in zip(whole, updates(text(), **options), strict=True):
            assert (np.concatenate([part.rows for part in parts]) == one[0].rows).all()
            flat = torch.cat([part.labels[part.inputs["attention_mask"].bool()] for part in parts])
            assert torch.equal(flat, one[0].labels[one[0].inputs["attention_mask"].bool()])


def objective(methods, student, teacher=None, **options):
    from plmc.core.chain import Chain
    from plmc.teachers.live import Live

    chain = Chain(methods)
    source = Live(teacher, chain.required(), HEADS["mlm"]) if teacher is not None else None
    return Objective(
        student,
        chain,
        torch.nn.ModuleDict(),
        head=HEADS["mlm"],
        teachers={"teacher": source} if source else None,
        **options,
    )


def gradient(made, batches):
    made.zero_grad()
    rows = sum(len(batch.rows) for batch in batches)
    for batch in batches:
        (made(batch, Clock(1, 8, 4))[0] * (len(batch.rows) / rows)).backward()
    return torch.cat([p.grad.flatten() for p in made.student.parameters() if p.grad is not None])


def test_one_batch_equals_its_micro_batches():
    made_one = objective(made(TRIPLE), lm(dropout=0).train(), lm(7).eval())
    for whole, parts in zip(updates(text(), count=2), updates(text(), count=2, micro_batch=2), strict=True):
        torch.testing.assert_close(gradient(made_one, whole), gradient(made_one, parts), rtol=1e-4, atol=1e-6)


def test_uneven_parts_count_by_their_tokens():
    """Each distillation of a language model alone, on parts of which one has nearly all tokens."""
    split = text(count=8)  # one batch, so that short and long texts meet in it
    for method in (TokenKD(), TokenKD(positions="masked"), LogitKD(alpha=0.0), LogitKD(alpha=1.0), CosineKD()):
        alone = objective({"kd": method}, lm(dropout=0).train(), lm(7).eval())
        for whole, parts in zip(updates(split, count=1), updates(split, count=1, micro_batch=1), strict=True):
            one, two = gradient(alone, whole), gradient(alone, parts)
            unequal = torch.cat([part.inputs["attention_mask"].sum()[None] for part in parts]).float()
            assert float(unequal.max() / unequal.min()) > 1.5
            assert float((one - two).norm() / one.norm()) < 1e-4


# Losses.


def test_the_cosine_is_that_of_the_last_hidden_states():
    student, teacher, batch = lm(dropout=0).train(), lm(7).eval(), updates(text(), count=1)[0][0]
    with torch.no_grad():  # blocks that turn their inputs: fresh ones hardly do
        for param in student.bert.encoder.parameters():
            param.mul_(20) if param.ndim == 2 else None
    found = objective({"cosine": CosineKD()}, student, teacher)(batch, Clock(0, 8, 4))[1]["cosine/cosine"]
    last = [model.base_model(**batch.inputs).last_hidden_state for model in (student, teacher)]
    real = batch.inputs["attention_mask"].bool()
    expected = 1 - F.cosine_similarity(last[0][real], last[1][real], dim=-1).mean()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    first = [model.base_model.embeddings(batch.inputs["input_ids"]) for model in (student, teacher)]
    assert abs(float(expected - (1 - F.cosine_similarity(first[0][real], first[1][real], dim=-1).mean()))) > 1e-3


def test_padding_changes_no_loss():
    batch = updates(text(), count=1)[0][0]
    wider = {name: F.pad(value, (0, 5)) for name, value in batch.inputs.items()}
    padded = replace(batch, inputs=wider, labels=F.pad(batch.labels, (0, 5), value=-100))
    loss = objective(made(TRIPLE), lm(dropout=0).eval(), lm(7).eval())
    for one, two in zip(loss(batch, Clock(0, 8, 4))[1].values(), loss(padded, Clock(0, 8, 4))[1].values(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


def test_a_student_that_is_its_teacher_has_nothing_to_learn_from_it():
    student, teacher = lm(3, dropout=0).train(), lm(3).eval()
    batch = updates(text(), count=1)[0][0]
    loss = objective(made(TRIPLE), student, teacher)
    _, terms = loss(batch, Clock(0, 8, 4))
    assert all(abs(terms[name].item()) < 1e-6 for name in ("token_kd/kl", "cosine/cosine"))
    full = teacher(**batch.inputs).logits
    expected = F.cross_entropy(full.flatten(0, 1), batch.labels.flatten(), ignore_index=-100)
    torch.testing.assert_close(terms["mlm/ce"], expected, rtol=1e-5, atol=1e-6)
    grads = torch.autograd.grad(terms["token_kd/kl"], list(student.parameters()), allow_unused=True)
    assert all(grad is None or float(grad.abs().max()) < 1e-6 for grad in grads)


@pytest.mark.parametrize("recipe", [TRIPLE, OFA])
def test_without_distillation_it_is_plain_training_bit_for_bit(tmp_path, recipe):
    rest = {name: make for name, make in recipe.items() if name not in ("token_kd", "cosine")}
    off = made(rest) | {"token_kd": TokenKD(weight=0), "cosine": CosineKD(weight=0)}
    with_it = training(tmp_path / "with", off, teacher=None).fit()
    without = training(tmp_path / "without", made(rest), teacher=None).fit()
    assert equal(with_it.weights, without.weights)


def test_the_size_of_the_gradient_does_not_depend_on_the_temperature():
    torch.manual_seed(0)
    teacher = torch.randn(40, 200) * 0.1
    norms, plain = [], []
    for temperature in (1.0, 2.0, 4.0, 8.0):
        student = (torch.randn(40, 200, generator=torch.Generator().manual_seed(1)) * 0.1).requires_grad_()
        (grad,) = torch.autograd.grad(kd_kl(student, teacher, temperature=temperature).mean(), student)
        norms.append(float(grad.norm()))
        plain.append(float(grad.norm()) / temperature**2)
    assert max(norms) / min(norms) < 1.03
    assert plain[0] / plain[2] == pytest.approx(16, rel=0.05)


def test_cosine_is_blind_to_length_and_counts_real_tokens_only():
    torch.manual_seed(0)
    states, mask = torch.randn(2, 5, 8), torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    assert hidden_cosine(states * 3, states, mask) == pytest.approx(0, abs=1e-6)
    assert hidden_cosine(-states, states, mask) == pytest.approx(2, abs=1e-6)
    spoilt = states.clone()
    spoilt[0, 3:] = 9
    assert torch.equal(hidden_cosine(spoilt, -states + 1, mask), hidden_cosine(states, -states + 1, mask))
    with pytest.raises(ValueError, match="project"):
        hidden_cosine(states, states[..., :4], mask)


@pytest.mark.parametrize("halves", [(torch.bfloat16, torch.bfloat16), (torch.float16, torch.float32)])
def test_cosines_of_half_precision_are_computed_in_single(halves):
    source = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(2, 5, 48, generator=source).to(kind) for kind in halves)
    mask = torch.ones(2, 5)
    exact = hidden_cosine(student.double(), teacher.double(), mask)
    found = hidden_cosine(student, teacher, mask)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-6)


def test_masked_positions_are_what_both_ways_of_choosing_agree_on():
    batch = updates(text(), count=1)[0][0]
    student, teacher = lm(dropout=0).eval(), lm(7).eval()
    only = objective({"kd": TokenKD(positions="masked")}, student, teacher)(batch, Clock(0, 8, 4))[1]["kd/kl"]
    # The third method asks for all tokens, so the first has to choose.
    both = objective({"kd": TokenKD(positions="masked"), "all": TokenKD()}, student, teacher)(batch, Clock(0, 8, 4))[1]
    logit = objective({"kd": LogitKD(alpha=0.0)}, student, teacher)(batch, Clock(0, 8, 4))[1]["kd/kl"]
    torch.testing.assert_close(only, both["kd/kl"])
    torch.testing.assert_close(only, logit)
    assert both["all/kl"].item() != pytest.approx(only.item(), rel=1e-3)


def test_a_micro_batch_without_anything_to_guess_is_no_nan():
    nothing = torch.full((4,), -100)
    logits = torch.randn(4, V, requires_grad=True)
    said = Outputs((logits,)), Outputs((logits.detach(),))
    view = View(HEADS["mlm"], nothing, torch.ones(2, 2), {}, *said, places=torch.tensor([0, 0, 1, 1]))
    for method in (TaskLoss(), TokenKD(positions="masked"), LogitKD(alpha=0.5)):
        for value in method.losses(view, Clock(0, 8, 4)).values():
            assert value.tolist() == [0.0, 0.0]
            value.sum().backward()


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "electra"])
def test_the_head_at_chosen_positions_is_the_librarys(kind):
    torch.manual_seed(0)
    model = {
        "bert": lambda: BertForMaskedLM(BertConfig(**SHAPE)),
        "roberta": lambda: RobertaForMaskedLM(RobertaConfig(**SHAPE)),
        "electra": lambda: ElectraForMaskedLM(ElectraConfig(**SHAPE, embedding_size=16)),
        "distilbert": lambda: DistilBertForMaskedLM(
            DistilBertConfig(vocab_size=V, dim=32, n_layers=2, n_heads=4, hidden_dim=48)
        ),
    }[kind]().eval()
    batch = updates(text(), count=1)[0][0]
    for everything in (True, False):
        chosen = batch.inputs["attention_mask"].bool() if everything else batch.labels >= 0
        found = HEADS["mlm"].ask(model, batch, all_tokens=everything, output_hidden_states=True)
        torch.testing.assert_close(found.logits[0], model(**batch.inputs).logits[chosen], rtol=1e-5, atol=1e-6)
        assert len(found.hidden_states) == 3


# Whole stages.


@pytest.mark.parametrize("recipe", [TRIPLE, OFA])
@pytest.mark.parametrize("at", [2, 5])
def test_a_killed_stage_ends_bit_for_bit_as_if_it_had_not_been(tmp_path, recipe, at):
    whole = training(tmp_path / "whole", made(recipe)).fit()
    with pytest.raises(Interrupted):
        training(tmp_path / "cut", made(recipe), checkpoint_steps=at, stop_after=at).fit()
    torch.manual_seed(999)
    again = training(tmp_path / "cut", made(recipe)).fit()
    assert equal(again.weights, whole.weights) and equal(again.model.state_dict(), whole.model.state_dict())
    assert all(values == whole.logs[step] for step, values in again.logs.items())


def test_the_teacher_is_neither_trained_nor_saved(tmp_path):
    stage = training(tmp_path, made(OFA)).fit()
    assert equal(stage.teacher.state_dict(), lm(7).state_dict())
    assert all(param.grad is None for param in stage.teacher.parameters())
    assert stage.weights.keys() == {f"student.{name}" for name in stage.model.state_dict()}


def test_only_the_head_learns(tmp_path):
    before = {name: value.clone() for name, value in lm().state_dict().items()}
    stage = training(tmp_path, {"mlm": TaskLoss(), "head_only": HeadOnly()}, teacher=None).fit()
    changed = {name for name, value in stage.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith("cls.") and "decoder.weight" not in name for name in changed)
    assert stage.model.get_output_embeddings().weight is stage.model.get_input_embeddings().weight
    assert all(param.requires_grad for param in stage.model.parameters())


def test_every_layer_kept_the_hidden_states_are_the_teachers():
    teacher, student = lm(layers=4).eval(), lm(layers=4).eval()
    encoder.set_layers(student, [0, 1, 2, 3])
    batch = updates(text(), count=1)[0][0]
    states = [model.base_model(**batch.inputs).last_hidden_state for model in (teacher, student)]
    assert torch.equal(*states)
    encoder.set_layers(student, [0, 3])
    for kept, source in enumerate((0, 3)):
        assert equal(student.bert.encoder.layer[kept].state_dict(), teacher.bert.encoder.layer[source].state_dict())


def test_token_kd_elsewhere_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="Use method kd"):
        rig({"task": TaskLoss(), "kd": TokenKD()}, tmp_path, teacher=tiny())
    with pytest.raises(ConfigError, match="positions"):
        TokenKD(positions="some")


def test_cosines_want_one_width_and_a_weight():
    def around(student, teacher=None):
        return replace(setting(tiny(hidden_size=student)), teacher=teacher and encoder.dims(tiny(hidden_size=teacher)))

    method = CosineKD()
    method.name = "cosine"
    with pytest.raises(ConfigError, match="student is 16 wide, the teacher 32; .*~recipe.stages.main.methods.cosine"):
        method.check(around(16, 32))
    method.check(around(32, 32))
    method.check(around(16))
    off = CosineKD(weight=0)
    off.check(around(16, 32))
    assert off.terms() == {} and off.required() == frozenset() and off.losses(None, None) == {}
    assert method.terms() == {"cosine": 1.0} and method.required() == {"hidden_states", "teacher.hidden_states"}
    with pytest.raises(ConfigError, match="weight=-1 must be a number 0 or more"):
        CosineKD(weight=-1)


def test_a_frozen_encoder_wants_a_loss_on_answers():
    def around(**methods):
        for name, method in methods.items():
            method.name = name
        return replace(setting(), methods=methods)

    head = HeadOnly()
    with pytest.raises(ConfigError, match="head_only: cosine looks at the inside of the encoder.*remove head_only"):
        head.check(around(cosine=CosineKD(), head_only=head))
    head.check(around(cosine=CosineKD(), mlm=TaskLoss(), head_only=head))
    head.check(around(head_only=head))


def test_the_encoder_is_not_claimed_and_runs_without_dropout():
    model, head = lm().train(), HeadOnly()
    model = head.prepare(model, None)
    claimed = {name for name, param in model.named_parameters() if head.trains(name, param)}
    assert claimed == {name for name, _ in model.named_parameters() if name.startswith("cls.")} and claimed
    model.bert.encoder.layer[0].eval()
    with head.scope(model, Clock(0, 8, 4)):
        assert not any(module.training for module in model.bert.modules()) and model.cls.training
    assert model.bert.encoder.layer[1].training and not model.bert.encoder.layer[0].training


def test_collate_of_masked_rows_pads_labels():
    split = text()
    small = split.draws.draw(split, np.arange(6), drawing(1))
    batch = collate(small, np.arange(6), 0)
    assert batch.labels.shape == batch.inputs["input_ids"].shape
    assert bool((batch.labels[batch.inputs["attention_mask"] == 0] == -100).all())


@pytest.mark.parametrize("micro", [None, 1, 3])
def test_a_language_model_has_a_loss_for_each_row(tmp_path, micro):
    """Their mean is the loss, that over all hidden tokens of the update, into whatever it is cut."""
    found = {}

    def how(self, compute, params):
        found["rows"], found["whole"] = compute.examples(), compute()
        found["gradient"] = torch.cat([param.grad.flatten() for param in params])
        found["uniform"] = compute(torch.full((8,), 1 / 8))
        return compute(torch.full((8,), 1 / 8))

    class Asks(Method):
        gradient = how

    methods = {"task": TaskLoss(), "kl": TokenKD(), "cosine": CosineKD(), "asks": Asks()}
    options = {"split": text(16), "kind": "mlm", "evaluate": None, "select": "last", "batch_size": 8, "steps": 1}
    made = rig(methods, tmp_path, model=lm(dropout=0.0), teacher=lm(7), micro_batch=micro, **options)
    made.fit()
    assert found["rows"].shape == (8,) and found["rows"].std() > 0
    torch.testing.assert_close(found["rows"].mean(), found["whole"], rtol=1e-5, atol=0)
    torch.testing.assert_close(found["uniform"], found["whole"], rtol=1e-5, atol=0)
    KEPT.setdefault("gradient", found["gradient"])
    torch.testing.assert_close(found["gradient"], KEPT["gradient"], rtol=1e-4, atol=1e-6)


KEPT: dict = {}
"""What the whole batch made, for the parts."""
