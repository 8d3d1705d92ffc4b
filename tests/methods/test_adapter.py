"""Bottleneck adapters: what they compute, what is trained, what is saved."""

import copy

import pytest
import torch
import torch.nn.functional as F
from loop import setting
from test_bitfit import FAMILIES
from transformers import AutoModelForSequenceClassification

from plmc.errors import ConfigError
from plmc.methods.adapt.adapter import Adapter
from plmc.methods.distill.task_loss import TaskLoss
from plmc.models import load
from plmc.models.edits.adapters import count, insert
from plmc.models.edits.record import edit, edits
from plmc.models.encoder import hidden_dropouts, layers, pruned_linears, set_layers
from plmc.testing.stage import HEADS, bert, rig

IDS = torch.randint(1, 50, (3, 7), generator=torch.Generator().manual_seed(0))
FULL = {"size": 4, "activation": "gelu", "after": "both", "std": 0.5}


def parameters(model):
    return {name: param for name, param in model.named_parameters() if ".adapter_" in name}


@pytest.mark.parametrize("family", FAMILIES)
def test_two_adapters_a_block_of_the_size_of_the_formula(family):
    for after, each in (("both", 2), ("feed_forward", 1)):
        model = FAMILIES[family]()
        before = sum(p.numel() for p in model.parameters())
        insert(model, size=4, activation="gelu", after=after, std=0.01)
        assert len(parameters(model)) == 4 * each * 3
        assert sum(p.numel() for p in model.parameters()) - before == each * 3 * count(32, 4)
    assert count(32, 4) == 2 * 32 * 4 + 32 + 4


def test_the_paper_of_compacter_counts_them_so():
    """T5-base: 48 adapters of width 24 in blocks of 768, and 62 LayerNorms without biases: 1,855,104."""
    assert 48 * count(768, 24) + 62 * 768 == 1_855_104


@pytest.mark.parametrize("family", FAMILIES)
def test_without_the_second_matrix_the_model_is_the_one_it_was_bit_for_bit(family):
    model = FAMILIES[family]().eval()
    before = model(IDS).logits
    matrices, dropouts = list(pruned_linears(model)), len(hidden_dropouts(model))
    edit(model, "adapters", **FULL)
    assert not torch.equal(model(IDS).logits, before)
    for name, param in parameters(model).items():
        if "adapter_up" in name:
            param.data.zero_()
    assert torch.equal(model(IDS).logits, before)
    # What finds matrices and dropouts finds the same.
    assert list(pruned_linears(model)) == matrices and len(hidden_dropouts(model)) == dropouts


def adapted(module, hidden):
    inner = F.gelu(hidden @ module.adapter_down.T + module.adapter_down_bias)
    return hidden + inner @ module.adapter_up.T + module.adapter_up_bias


def test_a_block_of_bert_computes_the_equation():
    model = FAMILIES["bert"]().eval()
    edit(model, "adapters", **FULL)
    block = layers(model)[0]
    hidden = torch.randn(2, 5, 32)
    attention = block.attention
    said = attention.output.dense(attention.self(hidden)[0])
    middle = attention.output.LayerNorm(hidden + adapted(attention.output.dropout, said))
    inner = block.output.dense(block.intermediate(middle))
    expected = block.output.LayerNorm(middle + adapted(block.output.dropout, inner))
    found = block(hidden)
    torch.testing.assert_close(found[0] if isinstance(found, tuple) else found, expected)


def test_a_block_of_distilbert_computes_the_equation():
    model = FAMILIES["distilbert"]().eval()
    edit(model, "adapters", **FULL)
    block, plain = layers(model)[0], None
    hidden = torch.randn(2, 5, 32)
    plain = super(type(block.attention), block.attention).forward(hidden)[0]
    middle = block.sa_layer_norm(hidden + adapted(block.attention, plain))
    inner = block.ffn.lin2(block.ffn.activation(block.ffn.lin1(middle)))
    expected = block.output_layer_norm(middle + adapted(block.ffn, inner))
    torch.testing.assert_close(block(hidden), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_norms_and_the_head_are_trained_and_nothing_else(family):
    model, method = FAMILIES[family](), Adapter(size=4)
    model = method.prepare(model, setting())
    claimed = {name for name, param in model.named_parameters() if method.trains(name, param)}
    inside = {name for name in claimed if name.startswith(f"{model.base_model_prefix}.")}
    norms = {name for name in inside if "LayerNorm" in name or "layer_norm" in name}
    assert inside == set(parameters(model)) | norms and len(norms) == 2 * (1 + 2 * 3)
    assert claimed - inside == {
        n for n, _ in model.named_parameters() if not n.startswith(f"{model.base_model_prefix}.")
    }
    method = Adapter(size=4, norms=False, head=False)
    method.prepare(model, setting())
    assert {n for n, p in model.named_parameters() if method.trains(n, p)} == set(parameters(model))


def test_the_base_stays_bit_for_bit_and_the_adapters_move(tmp_path):
    model = bert(1)
    before = copy.deepcopy(model.state_dict())
    made = rig({"task": TaskLoss(), "adapter": Adapter(size=4)}, tmp_path, model=model, steps=5, lr=1e-2).fit()
    after = made.model.state_dict()
    for name, value in before.items():
        assert torch.equal(after[name], value) == ("LayerNorm" not in name and not name.startswith("classifier")), name
    assert all(param.abs().max() > 0 for name, param in parameters(made.model).items() if "bias" in name)


def test_it_begins_near_the_model_and_within_two_deviations():
    model = bert(1)
    insert(model, size=64, activation="gelu", after="both", std=0.01)
    weights = torch.cat([p.flatten() for n, p in parameters(model).items() if "bias" not in n])
    assert weights.abs().max() <= 0.02 and 0.008 < weights.std() < 0.0095  # 0.88 of it, for the tails are cut
    assert all(not p.any() for n, p in parameters(model).items() if "bias" in n)


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_and_loaded_it_says_the_same(family, tmp_path):
    model = FAMILIES[family]().eval()
    edit(model, "adapters", **FULL)
    set_layers(model, [0, 2])
    model.save_pretrained(tmp_path)
    again = load.load_whole(AutoModelForSequenceClassification, str(tmp_path))
    assert torch.equal(again(IDS).logits, model(IDS).logits) and edits(again.config) == [{"name": "adapters", **FULL}]
    assert again.config.architectures == [type(FAMILIES[family]()).__name__]
    assert torch.equal(copy.deepcopy(again)(IDS).logits, model(IDS).logits)


def test_the_same_adapters_twice_are_once_and_others_are_refused():
    model = edit(bert(1), "adapters", **FULL)
    size = len(list(model.parameters()))
    assert len(list(edit(model, "adapters", **FULL).parameters())) == size and len(edits(model.config)) == 1
    with pytest.raises(ConfigError, match="has adapters already .*size=4.*same settings"):
        edit(model, "adapters", **FULL | {"size": 8})


def test_a_family_without_a_known_place_is_refused():
    from transformers import ConvBertConfig, ConvBertForSequenceClassification

    small = {
        "vocab_size": 60,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "intermediate_size": 48,
    }
    with pytest.raises(ConfigError, match="no place for adapters"):
        insert(ConvBertForSequenceClassification(ConvBertConfig(**small, embedding_size=32)), **FULL)


def test_a_masked_language_model_is_refused_with_its_head():
    with pytest.raises(ConfigError, match="head=false"):
        Adapter().check(setting(head=HEADS["mlm"]))
    Adapter(head=False).check(setting(head=HEADS["mlm"]))
