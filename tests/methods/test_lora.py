"""LoRA: the product of two thin matrices is what is learnt, and it ends up in the matrix. PEFT is the oracle."""

import copy
from dataclasses import replace

import pytest
import torch
from loop import setting
from test_bitfit import FAMILIES

from plmc.errors import ConfigError
from plmc.methods.adapt.bitfit import BitFit
from plmc.methods.adapt.lora import LoRA
from plmc.methods.average.swa import SWA
from plmc.methods.distill.logit_kd import LogitKD
from plmc.methods.distill.task_loss import TaskLoss
from plmc.methods.layers.layer_drop import LayerDrop
from plmc.methods.prune.gmp import GMP
from plmc.methods.prune.heads import HeadPruning
from plmc.methods.quant.qat import QAT
from plmc.models.lora import LoRALinear, insert, merge
from plmc.testing.stage import HEADS, bert, equal, rig

IDS = torch.tensor([[5, 6, 7, 8, 0], [9, 3, 0, 0, 0]])


def answers(model):
    with torch.no_grad():
        return model.eval()(input_ids=IDS, attention_mask=(IDS > 0).long()).logits


def inserted(model, **options):
    names = [name for name, module in model.named_modules() if name.endswith(("query", "value"))]
    insert(model, names, **{"rank": 3, "alpha": 6.0, "dropout": 0.0, **options})
    return [module for module in model.modules() if isinstance(module, LoRALinear)]


def drawn(layers):
    generator = torch.Generator().manual_seed(0)
    for layer in layers:
        torch.nn.init.normal_(layer.lora_B, std=0.3, generator=generator)


def test_it_begins_as_the_model_and_ends_as_a_plain_one():
    model = bert()
    before, kinds, keys = answers(model), [type(m) for m in model.modules()], list(model.state_dict())
    layers = inserted(model)
    assert torch.equal(answers(model), before) and len(layers) == 4
    assert all(layer.lora_A.shape == (3, 32) and not layer.lora_B.any() for layer in layers)
    merge(model)
    assert torch.equal(answers(model), before)
    assert [type(m) for m in model.modules()] == kinds and list(model.state_dict()) == keys


@pytest.mark.parametrize("alpha", [3.0, 8.0])
def test_forward_and_merge_are_those_of_peft(alpha):
    from peft import LoraConfig, get_peft_model

    model = bert(dropout=0.0)
    theirs = get_peft_model(
        copy.deepcopy(model), LoraConfig(r=3, lora_alpha=alpha, target_modules=["query", "value"], lora_dropout=0.0)
    )
    layers = inserted(model, alpha=alpha)
    drawn(layers)
    other = [module for module in theirs.modules() if hasattr(module, "lora_A") and len(module.lora_A)]
    assert len(other) == len(layers) == 4
    for ours, peft in zip(layers, other, strict=True):
        assert peft.lora_A["default"].weight.shape == ours.lora_A.shape
        peft.lora_A["default"].weight.data.copy_(ours.lora_A.data)
        peft.lora_B["default"].weight.data.copy_(ours.lora_B.data)
    plain = answers(bert(dropout=0.0))
    torch.testing.assert_close(answers(model), answers(theirs), atol=1e-6, rtol=1e-5)
    assert (answers(model) - plain).abs().max() > 5e-4
    trained = sum(param.numel() for param in theirs.parameters() if param.requires_grad)
    assert trained == sum(layer.lora_A.numel() + layer.lora_B.numel() for layer in layers)
    unmerged = answers(model)
    merge(model)
    merged = theirs.merge_and_unload()
    torch.testing.assert_close(answers(model), unmerged, atol=1e-5, rtol=1e-5)
    for name, value in merged.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, atol=1e-6, rtol=1e-6)


def test_the_gradient_of_the_branch_is_that_of_the_formula():
    origin = torch.nn.Linear(5, 4)
    layer = LoRALinear(origin, rank=2, alpha=6.0)
    drawn([layer])
    x = torch.randn(7, 5)
    y = layer(x)
    torch.testing.assert_close(y, x @ (origin.weight + 3.0 * layer.lora_B @ layer.lora_A).T + origin.bias)
    upstream = torch.randn_like(y)
    y.backward(upstream)
    torch.testing.assert_close(layer.lora_B.grad, 3.0 * upstream.T @ (x @ layer.lora_A.T))
    torch.testing.assert_close(layer.lora_A.grad, 3.0 * (upstream @ layer.lora_B).T @ x)


def test_dropout_is_on_the_branch_alone_and_in_training_alone():
    layer = LoRALinear(torch.nn.Linear(64, 4), rank=2, alpha=2.0, dropout=0.5)
    x = torch.randn(3, 64)
    assert torch.equal(layer(x), layer(x))  # B is 0
    drawn([layer])
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    assert torch.equal(layer(x), layer(x))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("targets, count", [("query_value", 2), ("attention", 4), ("all", 6)])
def test_the_targets_of_every_family(family, targets, count):
    model, method = FAMILIES[family](), LoRA(targets=targets)
    method.prepare(model, setting())
    names = [name for name, module in model.named_modules() if isinstance(module, LoRALinear)]
    assert len(names) == 3 * count
    if targets == "query_value":
        assert all(name.endswith(("query", "value", "q_lin", "v_lin")) for name in names)
    claimed = {name for name, param in model.named_parameters() if method.trains(name, param)}
    inner = {name for name in claimed if name.startswith(model.base_model_prefix)}
    assert {name.rpartition(".")[2] for name in inner} == {"lora_A", "lora_B"} and len(inner) == 2 * len(names)
    assert claimed - inner == {n for n, _ in model.named_parameters() if not n.startswith(model.base_model_prefix)}


def test_what_is_trained_is_counted_and_the_rest_moves_by_rank_r_only(tmp_path):
    made = rig({"kd": LogitKD(), "lora": LoRA(rank=2)}, tmp_path, teacher=bert(7), select="last", lr=1e-2).fit()
    layers, d, classes = 2, 32, 3
    assert made.outcome.trained_parameters == layers * 2 * 2 * (d + d) + classes * (d + 1)
    before = bert().state_dict()
    for name, value in made.model.state_dict().items():
        moved = value - before[name]
        if name.endswith(("query.weight", "value.weight")):
            assert int(torch.linalg.matrix_rank(moved, tol=1e-6)) == 2
        elif not name.startswith("classifier"):
            assert not moved.any(), name


def test_with_an_average_fewer_layers_and_biases(tmp_path):
    methods = {
        "kd": LogitKD(),
        "layer_drop": LayerDrop(strategy="top", k=1),
        "lora": LoRA(),
        "bitfit": BitFit(),
        "swa": SWA(begin="30%"),
    }
    made = rig(methods, tmp_path, teacher=bert(7), select="last", lr=1e-2).fit()
    assert not any(isinstance(module, LoRALinear) for module in made.model.modules())
    assert len(made.model.bert.encoder.layer) == 1
    before = bert().state_dict()
    assert not torch.equal(
        made.model.bert.encoder.layer[0].output.dense.bias, before["bert.encoder.layer.0.output.dense.bias"]
    )


def test_a_finished_stage_is_taken_up_with_plain_weights(tmp_path):
    """As a run does that goes on after this stage: the same structure, no trained product, then the stored weights."""
    made = rig({"task": TaskLoss(), "lora": LoRA()}, tmp_path, select="last", lr=1e-2).fit()
    method, model = LoRA(), bert()
    model = method.finish(method.prepare(model, setting()), None)
    assert equal(model.state_dict(), bert().state_dict())
    model.load_state_dict(made.model.state_dict())
    assert torch.equal(answers(model), answers(made.model))


@pytest.mark.parametrize("other", [GMP, HeadPruning, QAT])
def test_what_the_product_would_undo_is_refused(other):
    lora, method = LoRA(), other()
    lora.name, method.name = "lora", "other"
    with pytest.raises(ConfigError, match="lora: its product.*other has worked on.*later stage"):
        lora.check(replace(setting(), methods={"lora": lora, "other": method}))
    lora.check(replace(setting(), methods={"lora": lora, "swa": SWA()}))


def test_a_masked_language_model_is_refused_with_its_head():
    with pytest.raises(ConfigError, match="Set head=false"):
        LoRA().check(replace(setting(), head=HEADS["mlm"]))
    LoRA(head=False).check(replace(setting(), head=HEADS["mlm"]))
