"""Every cell of the table of families: the command works and its result is read again, or it is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import SMALL, plmc
from family_rows import NO, ROWS, TYPES, table
from transformers import AutoConfig, AutoModelForSequenceClassification
from zoo import OTHERS, save

import plmc as face
from plmc.models import encoder, load
from plmc.models.attention import PREFIXED, use_scores
from plmc.models.edits.record import edit
from plmc.models.families.find import FAMILIES

DOCS = Path(__file__).resolve().parents[2] / "docs" / "families.md"
# Cells that the ordinary suite runs; the others are slow.
QUICK = ("weights pruned", "heads cut out", "feed-forward units cut out", "prefix", "LoRA", "ONNX in 8 bits, verified")


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("families")
    return {name: save(home / kind, kind) for name, kind in TYPES.items()}


CELLS = [
    pytest.param(row, name, marks=() if row in QUICK and TYPES[name] in OTHERS else pytest.mark.slow)
    for row in ROWS
    for name in TYPES
]


@pytest.mark.parametrize("row, name", CELLS)
def test_a_cell_is_true(models, tmp_path, row, name, monkeypatch):
    if "ONNX" in row:
        pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    words = (*SMALL, *ROWS[row], "task=sst2", "teacher=base", f"teacher.name={models[name]}")
    ended = plmc("train", *words)
    if (row, name) in NO:
        assert ended.code == 2 and NO[row, name] in ended.message and "Use " in ended.message, ended.text
        if "scores" not in row:
            assert "updates of" not in ended.text
        return
    assert ended.code == 0, ended.text
    (result,) = Path("outputs").glob("*/result.json")
    record = json.loads(result.read_text())
    if row == "weights pruned":
        assert record["student"]["sparsity"] == pytest.approx(0.8, abs=0.005)
    texts = ["a moving film", "dull and far too long"]
    assert [answer["label"] for answer in face.predict(result.parent, texts)]
    scored = plmc("evaluate", result.parent)
    assert scored.code == 0 and f"{record['metrics']['accuracy']:.4f}" in scored.text, scored.text
    if "ONNX" in row:
        assert list(record["exports"]) == ["onnx-int8"]


def test_the_page_has_the_table():
    assert table() in DOCS.read_text(encoding="utf-8")


def built(name: str, **shape) -> torch.nn.Module:
    torch.manual_seed(0)
    kind = TYPES[name]
    given = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
    given |= {"pad_token_id": 0, "num_labels": 3} | OTHERS.get(kind, {}) | shape
    given[encoder.width_field(AutoConfig.for_model(kind))] = 48
    if kind == "modernbert":
        given |= {"bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
    return AutoModelForSequenceClassification.from_config(AutoConfig.for_model(kind, **given)).eval()


@pytest.mark.parametrize("name", TYPES)
def test_no_matrix_of_a_block_is_left_out(name):
    model = built(name)
    inside = {
        f"{at}.{part}"
        for at, block in ((n, m) for n, m in model.named_modules() if m in list(encoder.layers(model)))
        for part, module in block.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    assert set(encoder.pruned_linears(model)) == inside and len(inside) % 3 == 0
    family = next(family for family in FAMILIES if family.name == name)
    for block in encoder.layers(model):
        named = dict(block.named_modules())
        # Adapters come behind a dropout, or behind a whole half of the block.
        assert all(place in named for place in family.adapters)
        assert all(place in named for place in family.probabilities)


@pytest.mark.parametrize("name", TYPES)
def test_a_model_of_some_layers_is_read_again_as_it_was(name, tmp_path):
    model = built(name)
    encoder.set_layers(model, [0, 2])
    ids = torch.randint(3, 50, (2, 30))
    model.save_pretrained(tmp_path)
    again = load.load_whole(AutoModelForSequenceClassification, str(tmp_path))
    assert torch.equal(again(ids).logits, model(ids).logits) and encoder.dims(again).layers == 2


def test_the_first_layer_of_modernbert_stays():
    from plmc.errors import ConfigError

    with pytest.raises(ConfigError, match="first layer of ModernBERT is of another kind.*Keep layer 0"):
        encoder.set_layers(built("ModernBERT"), [1, 2])
    model = built("ModernBERT", num_hidden_layers=6)
    kinds = list(model.config.layer_types)
    encoder.set_layers(model, [0, 3, 4])
    assert model.config.layer_types == [kinds[0], kinds[3], kinds[4]] and len(set(kinds)) == 2


@pytest.mark.parametrize("name", [family.name for family in FAMILIES if family.interface])
def test_scores_and_an_empty_prefix_are_the_librarys_attention_over_long_rows(name):
    """ModernBERT's blocks attend to neighbours only: the window must survive."""
    model = built(name, num_hidden_layers=4) if name == "ModernBERT" else built(name)
    ids = torch.randint(3, 50, (2, 40))
    mask = torch.ones_like(ids)
    mask[1, 25:] = 0
    model.set_attn_implementation("eager")
    wanted = model(ids, attention_mask=mask).logits
    use_scores(model)
    torch.testing.assert_close(model(ids, attention_mask=mask).logits, wanted, rtol=0, atol=1e-6)
    edit(model, "prefix", length=2, std=1.0)
    assert model.config._attn_implementation == PREFIXED
    assert (model(ids, attention_mask=mask).logits - wanted).abs().max() > 1e-5
    for module in model.modules():
        if hasattr(module, "prefix_key"):
            heads, _, width = module.prefix_key.shape
            assert (heads, width) == (4, 8)
            module.prefix_key, module.prefix_value = (torch.nn.Parameter(torch.empty(4, 0, 8)) for _ in range(2))
    torch.testing.assert_close(model(ids, attention_mask=mask).logits, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", TYPES)
def test_adapters_stand_before_the_residual_connection_of_every_family(name):
    model = built(name)
    ids = torch.randint(3, 50, (2, 9))
    before = model(ids).logits
    edit(model, "adapters", size=4, activation="gelu", after="both", std=0.5)
    assert (model(ids).logits - before).abs().max() > 1e-6
    for part, param in model.named_parameters():
        if "adapter_up" in part:
            param.data.zero_()
    assert torch.equal(model(ids).logits, before)
    # An adapter that takes the output of its half away leaves the input of the block.
    family = next(family for family in FAMILIES if family.name == name)
    block = encoder.layers(model)[-1]
    seen: dict[str, torch.Tensor] = {}
    module = block.get_submodule(family.adapters[1])
    module.register_forward_hook(lambda _, __, output: seen.setdefault("half", output))
    last = []
    block.register_forward_hook(lambda _, __, output: last.append(output[0] if isinstance(output, tuple) else output))
    model(ids)
    half = seen["half"][0] if isinstance(seen["half"], tuple) else seen["half"]
    assert half.shape == last[0].shape and np.isfinite(half.detach().numpy()).all()


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(OTHERS))
def test_distilled_pruned_and_quantized_in_one_command(models, tmp_path, monkeypatch, family):
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    name = next(name for name, kind in TYPES.items() if kind == family)
    short = [word for word in SMALL if not word.startswith("budget.steps")]
    words = ("recipe=kd", "method=[gmp]", "quantize=int8", "methods.gmp.final=0.5", "budget.steps=40", "task=rte")
    ended = plmc("train", *short, *words, "teacher=base", f"teacher.name={models[name]}")
    assert ended.code == 0, ended.text
    (result,) = Path("outputs").glob("kd-*/result.json")
    record = json.loads(result.read_text())
    assert record["student"]["sparsity"] == pytest.approx(0.5, abs=0.02)
    (export,) = record["exports"].values()
    assert export["metrics"]["accuracy"] == pytest.approx(record["metrics"]["accuracy"], abs=0.1)
    assert export["compression_ratio"] > 3 and (Path(export["folder"]) / "model.onnx").is_file()
