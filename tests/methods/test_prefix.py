"""Prefix tuning: what it computes, what is trained, what is saved."""

import copy

import pytest
import torch
from loop import setting
from test_bitfit import FAMILIES
from transformers import AutoModelForSequenceClassification, DynamicCache

from plmc.errors import ConfigError
from plmc.methods.adapt.prefix import Prefix
from plmc.methods.distill.layers_kd import LayersKD
from plmc.methods.distill.task_loss import TaskLoss
from plmc.models import load
from plmc.models.attention import PREFIXED, SCORES, eager, use_scores
from plmc.models.edits.record import edit, edits
from plmc.models.encoder import layers, set_layers
from plmc.testing.stage import HEADS, bert, rig

IDS = torch.randint(1, 50, (3, 7), generator=torch.Generator().manual_seed(0))
MASK = torch.ones_like(IDS)
MASK[1, 4:] = 0
FULL = {"length": 3, "std": 1.0}


def parameters(model):
    return {name: param for name, param in model.named_parameters() if ".prefix_" in name}


def said(model, mask=MASK, ids=IDS):
    return model(ids, attention_mask=mask).logits


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prefix_has_keys_and_values_for_every_head_of_every_layer(family):
    model = edit(FAMILIES[family](), "prefix", **FULL)
    assert len(parameters(model)) == 2 * 3 and all(p.shape == (4, 3, 8) for p in parameters(model).values())
    assert sum(p.numel() for p in parameters(model).values()) == 2 * 3 * 3 * 32  # 2 L m D


def test_the_count_that_is_printed_for_bert_large():
    """20 tokens, 24 layers of 1,024: 983,040 (PANDA's code), without a network that makes them."""
    assert 2 * 24 * 20 * 1024 == 983_040


@pytest.mark.parametrize("family", FAMILIES)
def test_no_tokens_are_no_prefix(family):
    model = FAMILIES[family]().eval()
    before = said(model)
    edit(model, "prefix", **FULL)
    assert (said(model) - before).abs().max() > 1e-5
    for module in model.modules():
        if hasattr(module, "prefix_key"):
            module.prefix_key, module.prefix_value = (torch.nn.Parameter(torch.empty(4, 0, 8)) for _ in range(2))
    torch.testing.assert_close(said(model), before, rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", ["bert", "roberta", "electra"])
def test_it_is_what_the_library_computes_with_keys_and_values_in_its_cache(family):
    model = FAMILIES[family]().eval()
    plain = copy.deepcopy(model)
    edit(model, "prefix", **FULL)
    cache = DynamicCache()
    for index, block in enumerate(layers(model)):
        own = block.attention.self
        cache.update(*(value.detach().expand(3, -1, -1, -1) for value in (own.prefix_key, own.prefix_value)), index)
    seen = torch.cat([torch.ones(3, 3, dtype=torch.long), MASK], dim=1)
    first = 2 if family == "roberta" else 0  # RoBERTa counts from its padding
    places = torch.arange(7).expand(3, -1) + first
    places = torch.where(MASK.bool(), places, 1) if family == "roberta" else places
    base = getattr(plain, plain.base_model_prefix)
    inner = base(IDS, attention_mask=seen, position_ids=places, past_key_values=cache).last_hidden_state
    own = getattr(model, model.base_model_prefix)(IDS, attention_mask=MASK, position_ids=places).last_hidden_state
    torch.testing.assert_close(own[MASK.bool()], inner[MASK.bool()], rtol=0, atol=2e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_changes_nothing(family):
    model = edit(FAMILIES[family]().eval(), "prefix", **FULL)
    longer, mask = (torch.cat([given, torch.zeros(3, 2, dtype=torch.long)], dim=1) for given in (IDS, MASK))
    torch.testing.assert_close(said(model, mask, longer), said(model), rtol=0, atol=1e-6)


def test_the_prefix_and_the_head_are_trained_and_nothing_else(tmp_path):
    model = bert(1)
    before = copy.deepcopy(model.state_dict())
    made = rig({"task": TaskLoss(), "prefix": Prefix(length=3)}, tmp_path, model=model, steps=5, lr=1e-2).fit()
    after = made.model.state_dict()
    assert all(torch.equal(after[n], v) == (not n.startswith("classifier")) for n, v in before.items())
    assert made.outcome.trained_parameters == 2 * 2 * 3 * 32 + sum(
        v.numel() for n, v in before.items() if n.startswith("classifier")
    )
    method = Prefix(length=3, head=False)
    model = method.prepare(bert(1), setting())
    assert {n for n, p in model.named_parameters() if method.trains(n, p)} == set(parameters(model))


@pytest.mark.parametrize("family", FAMILIES)
def test_no_other_attention_function_takes_the_prefix_away(family):
    """Distillation of scores, exporters and counters exchange the attention function: the prefix was then off."""
    model = edit(FAMILIES[family]().eval(), "prefix", **FULL)
    wanted = said(model)
    assert model.config._attn_implementation == PREFIXED
    for name in ("sdpa", "eager"):
        model.set_attn_implementation(name)
        assert torch.equal(said(model), wanted)
    with eager(model):
        assert torch.equal(said(model), wanted)
    use_scores(model)
    assert model.config._attn_implementation == SCORES
    torch.testing.assert_close(said(model), wanted)


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_those_between_tokens(family):
    model = edit(FAMILIES[family]().eval(), "prefix", **FULL)
    with torch.no_grad():
        for param in parameters(model).values():
            param.zero_()  # equal weights for the prefix: the inputs of layer 0 are those without it
    plain = FAMILIES[family]().eval()
    plain.load_state_dict({n: v for n, v in model.state_dict().items() if ".prefix_" not in n})
    use_scores(model)
    use_scores(plain)
    with_it, without = (each(IDS, attention_mask=MASK, output_attentions=True).attentions for each in (model, plain))
    assert with_it[0].shape == (3, 4, 7, 7)
    torch.testing.assert_close(with_it[0], without[0])
    assert (with_it[1] - without[1]).abs().max() > 1e-6


def test_distillation_of_scores_trains_the_prefix(tmp_path):
    methods = {"layers": LayersKD(map="uniform", projection="never"), "prefix": Prefix(length=3, head=False)}
    made = rig(methods, tmp_path, teacher=bert(2), steps=4, lr=1e-1, select="last").fit()
    fresh = Prefix(length=3).prepare(bert(), setting())
    moved = [param for name, param in parameters(made.model).items()]
    assert all(param.shape == other.shape for param, other in zip(moved, parameters(fresh).values(), strict=True))
    # In the last layer scores come before the values of the prefix play a part.
    still = rig(
        methods | {"prefix": Prefix(length=3, head=False)}, tmp_path / "b", teacher=bert(2), steps=1, lr=0.0
    ).fit()
    keys = [n for n in parameters(made.model) if "prefix_value" in n]
    assert any(not torch.equal(made.model.get_parameter(n), still.model.get_parameter(n)) for n in keys)


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_and_loaded_it_says_the_same(family, tmp_path):
    model = edit(FAMILIES[family]().eval(), "prefix", **FULL)
    edit(model, "adapters", size=2, activation="relu", after="both", std=0.3)
    set_layers(model, [0, 2])
    model.save_pretrained(tmp_path)
    again = load.load_whole(AutoModelForSequenceClassification, str(tmp_path))
    assert torch.equal(said(again), said(model)) and [made["name"] for made in edits(again.config)] == [
        "prefix",
        "adapters",
    ]
    assert again.config._attn_implementation == PREFIXED
    assert torch.equal(said(copy.deepcopy(again)), said(model))


def test_a_masked_language_model_is_refused_with_its_head():
    with pytest.raises(ConfigError, match="head=false"):
        Prefix().check(setting(head=HEADS["mlm"]))
