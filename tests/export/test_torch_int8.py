"""Int8 inside PyTorch by torchao: the integers of the float weights, loadable by transformers alone."""

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from deployed import FAMILIES, HEADS, save, source_of

from plmc.config.schemes import Plan
from plmc.errors import ConfigError
from plmc.export import verify
from plmc.export.make import make
from plmc.export.runtime import open_model
from plmc.export.source import load_model

needs_torchao = pytest.mark.skipif(find_spec("torchao") is None, reason="needs pip install 'plmc[torchao]'")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    real = verify.latency
    monkeypatch.setattr(
        verify, "latency", lambda runtime, model, split: real(runtime, model, split, rows=2, budget=0.1)
    )


def bert(tokenizers, folder):
    return source_of(save(folder, "bert", "classification", tokenizers["bert"]), "classification")


@needs_torchao
@pytest.mark.parametrize("family, head", zip(FAMILIES, HEADS, strict=True))
def test_an_export_answers_as_the_model_and_loads_without_plmc(tokenizers, tmp_path, silent, family, head):
    source = source_of(save(tmp_path / "model", family, head, tokenizers[family]), head)
    plan, out = Plan("torch", "int8"), tmp_path / "out"
    facts = make(source, plan, out, console=silent, max_drop=100)
    assert facts["verification"]["cosine"] > 0.99 and facts["versions"]["torchao"]
    assert facts["encoder_compression_ratio"] > 3
    assert make(source, plan, out, console=silent, max_drop=100) == facts
    raw = source.evaluation.raw[0]
    texts = [raw["text_a"], raw["text_b"]] if "text_b" in raw else [raw["text_a"]]
    done = subprocess.run(
        [sys.executable, facts["example"], *texts], cwd=out, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "torch transformers torchao" in (out / facts["example"]).read_text()


@needs_torchao
@pytest.mark.parametrize("scheme", ["int8", "weights8"])
def test_weights_are_rounded_by_row_and_come_back_exactly(tokenizers, tmp_path, silent, scheme):
    source, out = bert(tokenizers, tmp_path / "model"), tmp_path / "out"
    make(source, Plan("torch", scheme), out, console=silent, max_drop=100)
    before, after = load_model(source.folder), load_model(out)
    for layer, other in zip(before.bert.encoder.layer, after.bert.encoder.layer, strict=True):
        weight, stored = layer.output.dense.weight.detach(), other.output.dense.weight
        # Spec: q = round(w / s), s = max|w| of the row / 127.5 or 127.
        rows = weight.abs().amax(dim=1)
        assert stored.qdata.dtype == torch.int8
        assert ((stored.dequantize() - weight).abs().amax(dim=1) <= rows / 127 * 0.51 + 1e-6).all()
    table = after.bert.embeddings.word_embeddings.weight
    assert torch.equal(table, before.bert.embeddings.word_embeddings.weight)
    rounded = {int(v) for v in stored.qdata.unique()}
    assert len(rounded) > 100


@needs_torchao
def test_only_int8_rounds_activations(tokenizers, tmp_path, silent):
    source = bert(tokenizers, tmp_path / "model")
    feed = verify.single_feeds(source.evaluation, 1)[0]
    logits = {}
    for scheme in ("int8", "weights8"):
        make(source, Plan("torch", scheme), tmp_path / scheme, console=silent, max_drop=100)
        runtime = open_model(tmp_path / scheme, threads=1)
        assert runtime.label == f"torch {scheme}"
        logits[scheme] = runtime.run(feed)[0]
    # The same integers: what weights8 computes is the float model of the rounded weights.
    model = load_model(source.folder)
    stored = load_model(tmp_path / "weights8")
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.data.copy_(stored.get_submodule(name).weight.dequantize())
    with torch.inference_mode():
        exact = model(**{name: torch.from_numpy(value) for name, value in feed.items()}).logits.numpy()
    assert abs(logits["weights8"] - exact).max() < 1e-5 < abs(logits["int8"] - exact).max()


def test_without_torchao_the_extra_is_named(tokenizers, tmp_path, silent, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(ConfigError, match=r"pip install 'plmc\[torchao\]'"):
        make(bert(tokenizers, tmp_path / "model"), Plan("torch", "int8"), tmp_path / "out", console=silent)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@needs_torchao
def test_an_export_from_elsewhere_without_torchao_here_says_so(tokenizers, tmp_path, silent, monkeypatch):
    make(bert(tokenizers, tmp_path / "model"), Plan("torch", "int8"), tmp_path / "out", console=silent, max_drop=100)
    assert (
        json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]["quant_method"] == "torchao"
    )
    monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(ConfigError, match="torchao"):
        open_model(tmp_path / "out", threads=1)


@needs_torchao
def test_a_command_tells_nothing_of_kernels_that_torchao_cannot_load():
    script = "import sys\nfrom plmc.cli.app import main\nsys.argv = ['plmc', '--help']\n"
    script += "try:\n    main()\nexcept SystemExit:\n"
    script += "    import torchao.quantization, transformers.modeling_utils"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert done.stderr == ""
