"""Layer and prediction distillation of TinyBERT, and the attention scores they read."""

import copy
import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from plmc.core.clock import Clock
from plmc.core.setting import Dims
from plmc.core.view import Outputs, View
from plmc.errors import ConfigError
from plmc.methods.distill.layer_map import layer_map
from plmc.methods.distill.layers_kd import LayersKD
from plmc.methods.distill.prediction_kd import PredictionKD
from plmc.methods.distill.task_loss import TaskLoss
from plmc.models.attention import attention_probabilities, use_scores
from plmc.testing.stage import HEADS, building

CLOCK = Clock(0, 10, 5)
COMMON = {"vocab_size": 50, "max_position_embeddings": 40, "num_labels": 3}


def bert(*, layers=2, width=16, heads=2, seed=0):
    torch.manual_seed(seed)
    shape = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads, "intermediate_size": 24}
    model = BertForSequenceClassification(BertConfig(**COMMON, **shape))
    # Freshly made biases are zero, which would hide whether they count.
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.3)
    use_scores(model)
    return model.eval()


def batch():
    generator = torch.Generator().manual_seed(3)
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    return {"input_ids": torch.randint(5, 50, (2, 7), generator=generator) * mask, "attention_mask": mask}


def outputs(model, inputs):
    seen = model(**inputs, output_hidden_states=True, output_attentions=True)
    return Outputs((seen.logits,), hidden_states=seen.hidden_states, scores=seen.attentions)


def view(student, teacher, inputs=None):
    inputs = inputs or batch()
    with torch.no_grad():
        target = outputs(teacher, inputs)
    labels, mask = torch.tensor([1, 2]), batch()["attention_mask"]
    return View(HEADS["classification"], labels, mask, inputs, outputs(student, inputs), target)


def setting(student, teacher):
    def dims(model):
        c = model.config
        return Dims(c.num_hidden_layers, c.hidden_size, c.num_attention_heads, c.intermediate_size, c.vocab_size)

    return building("inter", HEADS["classification"], 0, dims(student), dims(teacher))


def built(method, student, teacher):
    """The method, checked, with its projections made, and those."""
    torch.manual_seed(1)
    method.check(setting(student, teacher))
    return method, method.modules(setting(student, teacher))


# Attention scores

MODELS = {
    "bert": (BertForSequenceClassification, BertConfig),
    "roberta": (RobertaForSequenceClassification, RobertaConfig),
    "electra": (ElectraForSequenceClassification, ElectraConfig),
    "distilbert": (DistilBertForSequenceClassification, DistilBertConfig),
}


def family(name):
    model, config = MODELS[name]
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    if name == "distilbert":
        shape = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}
    if name == "electra":
        shape["embedding_size"] = 8
    torch.manual_seed(0)
    return model(config(**COMMON, **shape))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("training", [False, True])
def test_scores_change_nothing_but_what_is_handed_out(name, training):
    model, inputs = family(name).train(training), batch()
    seen = []
    for switch in (lambda m: m.set_attn_implementation("eager"), use_scores):
        switch(model)
        torch.manual_seed(7)  # the same dropout
        seen.append(model(**inputs, output_attentions=True))
    eager, ours = seen
    assert torch.equal(eager.logits, ours.logits)
    assert [a.shape for a in ours.attentions] == [(2, 2, 7, 7)] * 2
    if not training:
        mask = (1 - inputs["attention_mask"])[:, None, None, :] * torch.finfo(torch.float32).min
        for probabilities, scores in zip(eager.attentions, ours.attentions, strict=True):
            assert torch.equal(attention_probabilities(scores, mask), probabilities)


def test_saved_models_do_not_name_the_attention_implementation(tmp_path):
    bert().save_pretrained(tmp_path)
    assert "plmc" not in json.dumps(json.loads((tmp_path / "config.json").read_text()))


# Layer map


def test_uniform_map_of_four_to_twelve():
    assert layer_map("uniform", student=4, teacher=12) == (0, 3, 6, 9, 12)
    assert layer_map("top", student=4, teacher=12) == (0, 9, 10, 11, 12)
    assert layer_map("bottom", student=4, teacher=12) == (0, 1, 2, 3, 4)
    assert layer_map([2, 5, 5, 12], student=4, teacher=12) == (0, 2, 5, 5, 12)


@pytest.mark.parametrize(
    "strategy, student, says",
    [
        ("uniform", 5, "divide by 5 student layers, .* Use a student of 1, 2, 3, 4, 6, 12 layers"),
        ("top", 13, "shallower"),
        ("middle", 4, "unknown"),
        ([3, 14], 2, "2→14, but the teacher has 12 layers. Use layers 1 to 12"),
        ([0, 12], 2, "1→0"),
        ([1], 2, "names 1"),
    ],
)
def test_maps_that_do_not_fit_are_refused(strategy, student, says):
    with pytest.raises(ConfigError, match=says):
        layer_map(strategy, student=student, teacher=12)


def test_four_of_twelve_layers_compare_the_right_pairs():
    def numbered(layers):
        return Outputs(
            (torch.zeros(1, 2),),
            hidden_states=tuple(torch.full((1, 2, 3), float(i)) for i in range(layers + 1)),
            scores=tuple(torch.full((1, 2, 2, 2), float(i)) for i in range(1, layers + 1)),
        )

    seen = View(
        HEADS["classification"], torch.zeros(1, dtype=torch.long), torch.ones(1, 2), {}, numbered(4), numbered(12)
    )
    losses = LayersKD().losses(seen, CLOCK)
    expected = sum((3 * m - m) ** 2 for m in range(1, 5))
    assert losses["attention"] == expected and losses["hidden"] == expected and losses["embedding"] == 0


# Layer distillation


@pytest.mark.parametrize("mode, projection", [("paper", "auto"), ("official_code", "never")])
def test_copy_of_the_teacher_loses_nothing(mode, projection):
    teacher = bert()
    student = copy.deepcopy(teacher)
    method, modules = built(LayersKD(mode=mode, projection=projection), student, teacher)
    assert modules is None
    losses = method.losses(view(student, teacher), CLOCK)
    assert losses.keys() == method.terms().keys() and all(value == 0 for value in losses.values())


def test_shift_of_the_keys_moves_the_scores_and_nothing_else():
    """A bias on the keys adds Q b to every row of the scores, and the softmax does not see a constant per row."""
    teacher = bert()
    student = copy.deepcopy(teacher)
    with torch.no_grad():
        for layer in student.bert.encoder.layer:
            layer.attention.self.key.bias += 0.7
    seen = view(student, teacher)
    torch.testing.assert_close(seen.student.logits, seen.teacher.logits)
    losses = LayersKD().losses(seen, CLOCK)
    assert losses["attention"] > 1e-3 and losses["hidden"] < 1e-9


@pytest.mark.parametrize("mode", ["paper", "official_code"])
def test_mask_constant_does_not_matter(mode):
    teacher, student = bert(layers=4, seed=1), bert(layers=2)
    method, _ = built(LayersKD(mode=mode), student, teacher)
    found = []
    for constant in (-1e4, torch.finfo(torch.float32).min):
        additive = (1.0 - batch()["attention_mask"].float())[:, None, None, :].expand(2, 1, 7, 7) * constant
        found.append(method.losses(view(student, teacher, batch() | {"attention_mask": additive}), CLOCK))
    assert all(torch.isfinite(value) for value in found[0].values())
    for name in found[0]:
        torch.testing.assert_close(found[0][name], found[1][name])


def test_padding_enters_the_official_mean_only():
    teacher, student = bert(layers=4, seed=1), bert(layers=2)
    wider = {name: F.pad(value, (0, 5)) for name, value in batch().items()}

    def losses(mode, inputs):
        method, _ = built(LayersKD(mode=mode, projection="never"), student, teacher)
        seen = replace(view(student, teacher, inputs), mask=inputs["attention_mask"])
        return method.losses(seen, CLOCK)

    for name in ("attention", "hidden", "embedding"):
        torch.testing.assert_close(losses("paper", batch())[name], losses("paper", wider)[name])
        assert not torch.isclose(losses("official_code", batch())[name], losses("official_code", wider)[name])


def test_official_scores_count_padded_columns_as_zero_and_padded_rows_fully():
    teacher, student = bert(seed=1), bert()
    method, _ = built(LayersKD(mode="official_code", hidden=0, embedding=0), student, teacher)
    seen = view(student, teacher)
    keep = batch()["attention_mask"][:, None, None, :]
    pairs = zip(seen.student.scores, seen.teacher.scores, strict=True)
    expected = sum(F.mse_loss(s * keep, t * keep) for s, t in pairs)
    torch.testing.assert_close(method.losses(seen, CLOCK)["attention"], expected)


def test_projections_by_mode():
    narrow, wide = bert(), bert(width=24, seed=1)

    def shapes(method, student=narrow):
        _, modules = built(method, student, wide)
        return {} if modules is None else {n: tuple(p.shape) for n, p in modules.named_parameters()}

    per_layer = {f"hidden.{i}.weight": (24, 16) for i in range(2)}
    assert shapes(LayersKD()) == {"embedding.weight": (24, 16)} | per_layer
    assert shapes(LayersKD(embedding=0)) == per_layer
    assert shapes(LayersKD(hidden=0, embedding=0)) == {}
    assert shapes(LayersKD(mode="official_code")) == {"fit_dense.weight": (24, 16), "fit_dense.bias": (24,)}
    assert shapes(LayersKD(), student=wide) == {}
    assert set(shapes(LayersKD(projection="always"), student=wide).values()) == {(24, 24)}
    assert set(shapes(LayersKD(mode="official_code"), student=wide)) == {"fit_dense.weight", "fit_dense.bias"}


def test_projections_are_a_function_of_the_seed():
    student, teacher = bert(), bert(width=24, seed=1)
    _, once = built(LayersKD(), student, teacher)
    _, twice = built(LayersKD(), student, teacher)
    assert all(torch.equal(a, b) for a, b in zip(once.parameters(), twice.parameters(), strict=True))


@pytest.mark.parametrize("mode", ["paper", "official_code"])
def test_layers_train_the_encoder_and_projections_but_not_the_head_or_the_teacher(mode):
    teacher, student = bert(layers=4, width=24, seed=1).requires_grad_(False), bert().train()
    before = copy.deepcopy(teacher.state_dict())
    method, modules = built(LayersKD(mode=mode), student, teacher)
    sum(method.losses(view(student, teacher), CLOCK).values()).backward()
    for name, parameter in student.named_parameters():
        # No loss looks at the head; the scores and hidden states see everything else.
        assert (parameter.grad is None) == name.startswith(("classifier.", "bert.pooler.")), name
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in modules.parameters())
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert not teacher.training and all(p.grad is None for p in teacher.parameters())


def test_weights_of_zero_switch_off_terms_and_needs():
    hidden = {"hidden_states", "teacher.hidden_states"}
    scores = {"scores", "teacher.scores"}
    assert LayersKD().required() == hidden | scores
    assert LayersKD(attention=0).required() == hidden
    assert LayersKD(hidden=0, embedding=0).required() == scores
    for one in ("hidden", "embedding"):
        assert LayersKD(attention=0, **{one: 0}).required() == hidden
        assert LayersKD(**{one: 0}).required() == hidden | scores
    off = LayersKD(attention=0, hidden=0, embedding=0)
    assert off.required() == frozenset() and off.terms() == {} and off.losses(None, CLOCK) == {}


def test_layers_refuse_what_cannot_work():
    for method, student, says in [
        (LayersKD(name="kd"), bert(width=16, heads=4), "methods.kd.attention=0"),
        (LayersKD(name="kd"), bert(layers=3), "divide"),
        (LayersKD(name="kd", projection="never"), bert(width=8), "projection=auto"),
    ]:
        with pytest.raises(ConfigError, match=says):
            method.check(setting(student, bert(layers=4)))
    LayersKD(attention=0).check(setting(bert(width=16, heads=4), bert(layers=4)))
    for fields in ({"mode": "both"}, {"projection": "maybe"}, {"hidden": -1}):
        with pytest.raises(ConfigError, match=f"{min(fields)}=.* must be"):
            LayersKD(**fields)


# Prediction distillation


def test_prediction_of_a_copy_is_the_teacher_entropy_with_zero_gradient():
    teacher = bert()
    seen = view(copy.deepcopy(teacher), teacher)
    loss = PredictionKD().losses(seen, CLOCK)["soft_ce"].mean()
    z = seen.teacher.logits[0]
    torch.testing.assert_close(loss, -(z.softmax(-1) * z.log_softmax(-1)).sum(-1).mean())
    assert torch.autograd.grad(loss, seen.student.logits[0])[0].abs().max() < 1e-7


def test_prediction_with_hard_labels_for_a_teacher_is_fine_tuning():
    """With the layer terms at 0, too: the last step of TinyBERT then is plain fine-tuning, gradients included."""
    student = bert()
    seen = view(student, bert(seed=1))
    certain = Outputs((1e4 * F.one_hot(seen.labels, 3).float(),))
    hard = View(seen.head, seen.labels, seen.mask, {}, seen.student, certain)
    off = LayersKD(attention=0, hidden=0, embedding=0)
    ours = sum((PredictionKD().losses(hard, CLOCK) | off.losses(hard, CLOCK)).values()).mean()
    plain = TaskLoss().losses(seen, CLOCK)["ce"].mean()
    torch.testing.assert_close(ours, plain)
    parameters = list(student.parameters())
    found, expected = (torch.autograd.grad(loss, parameters, retain_graph=True) for loss in (ours, plain))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_official_prediction_is_averaged_over_classes_too():
    seen = view(bert(), bert(seed=1))
    paper, official = (
        PredictionKD(mode=mode).losses(seen, CLOCK)["soft_ce"].mean() for mode in ("paper", "official_code")
    )
    torch.testing.assert_close(official, paper / 3)


def test_prediction_at_a_temperature_has_no_factor():
    seen = view(bert(), bert(seed=1))
    s, t = (each.logits[0] / 3 for each in (seen.student, seen.teacher))
    torch.testing.assert_close(
        PredictionKD(temperature=3.0).losses(seen, CLOCK)["soft_ce"].mean(),
        -(t.softmax(-1) * s.log_softmax(-1)).sum(-1).mean(),
    )
    assert PredictionKD().terms() == {"soft_ce": 1.0}


def test_prediction_of_two_heads_is_their_mean_at_the_temperature():
    generator = torch.Generator().manual_seed(0)
    s, t = (tuple(torch.randn(2, 4, generator=generator) for _ in range(2)) for _ in range(2))
    seen = View(HEADS["span"], torch.zeros(2, 2), torch.ones(2, 4), {}, Outputs(s), Outputs(t))
    each = [-((b / 2).softmax(-1) * (a / 2).log_softmax(-1)).sum(-1).mean() for a, b in zip(s, t, strict=True)]
    torch.testing.assert_close(
        PredictionKD(temperature=2.0).losses(seen, CLOCK)["soft_ce"].mean(), (each[0] + each[1]) / 2
    )


@pytest.mark.parametrize(
    "fields, layers",
    [
        ({}, {0, 2, 4}),
        ({"embedding": 0}, {2, 4}),
        ({"hidden": 0}, {0}),
        ({"hidden": 0, "embedding": 0}, set()),
        ({"map": "top"}, {0, 3, 4}),
        ({"map": "bottom"}, {0, 1, 2}),
    ],
)
def test_only_the_mapped_hidden_states_are_stored(fields, layers):
    around = building("main", HEADS["classification"], 0, Dims(2, 8, 2, 8, 9), Dims(4, 8, 2, 8, 9))
    assert LayersKD(**fields).teacher_layers(around) == layers


def test_prediction_of_scores():
    s, t, gold = torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [2.0]]), torch.tensor([1.0, 5.0])
    seen = View(HEADS["regression"], gold, torch.ones(2, 1), {}, Outputs((s,)), Outputs((t,)))
    assert PredictionKD().losses(seen, CLOCK)["soft_ce"].mean() == 2.0
    assert PredictionKD(mode="official_code").losses(seen, CLOCK)["soft_ce"].mean() == 4.5


def test_prediction_of_spans_ignores_padding_and_has_no_official_code():
    generator = torch.Generator().manual_seed(0)
    s, t = (tuple(torch.randn(1, 4, generator=generator) for _ in range(2)) for _ in range(2))

    def loss(pad):
        heads = [Outputs(tuple(F.pad(z, (0, pad), value=8.0) for z in pair)) for pair in (s, t)]
        mask = torch.tensor([[1] * 4 + [0] * pad])
        return (
            PredictionKD()
            .losses(View(HEADS["span"], torch.tensor([[0, 1]]), mask, {}, *heads), CLOCK)["soft_ce"]
            .mean()
        )

    torch.testing.assert_close(loss(0), loss(3))
    with pytest.raises(ConfigError, match="mode=paper"):
        PredictionKD(mode="official_code", name="kd").check(building("last", HEADS["span"], 0, Dims(2, 8, 2, 8, 9)))


@pytest.mark.parametrize(
    "fields, says",
    [({"mode": "code"}, "mode=code must be paper or official_code"), ({"temperature": 0}, "greater than 0")],
)
def test_prediction_refuses_nonsense(fields, says):
    with pytest.raises(ConfigError, match=says):
        PredictionKD(**fields)


def test_encoder_of_the_four_layer_student_has_the_published_size():
    config = BertConfig(hidden_size=312, num_hidden_layers=4, num_attention_heads=12, intermediate_size=1200)
    with torch.device("meta"):
        model = BertForSequenceClassification(config).bert
        projections = LayersKD(embedding=0).modules(
            building("inter", HEADS["classification"], 0, Dims(4, 312, 12, 1200, 30522), Dims(12, 768, 12, 3072, 30522))
        )
    assert sum(p.numel() for p in model.parameters()) == 14_350_248
    assert {p.numel() for p in projections.parameters()} == {312 * 768}


def test_a_map_may_name_the_first_and_the_last_layer():
    assert layer_map([1, 12], student=2, teacher=12) == (0, 1, 12)


def test_predictions_of_a_language_model_are_not_these():
    method = PredictionKD(name="kd")
    with pytest.raises(ConfigError, match=r"kd: for a masked language model use method=\[token_kd\], without kd"):
        method.check(building("last", HEADS["mlm"], 0, Dims(2, 8, 2, 8, 9)))
    method.check(building("last", HEADS["span"], 0, Dims(2, 8, 2, 8, 9)))
