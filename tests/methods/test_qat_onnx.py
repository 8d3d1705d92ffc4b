"""The judged model of quantization-aware training is the int8 model that ONNX Runtime runs."""

import numpy as np
import pytest
import torch
from loop import batch, setting, start, tiny

from plmc.methods.quant import fake
from plmc.methods.quant.modules import FakeQuantEmbedding, FakeQuantLinear
from plmc.methods.quant.qat import QAT

NAMES = ("input_ids", "attention_mask")


@pytest.fixture(scope="module")
def exported():
    """A trained student as it is judged: its logits, its integers, and the quantized graph of what `finish` makes of it."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from plmc.export.onnx import to_onnx
    from plmc.export.quantize import quantize

    run = start({"qat": QAT(scheme="per_channel")}, model=tiny(num_hidden_layers=1)).go()
    model = run.model.eval()
    inputs = {name: batch(50, rows=6)[name] for name in NAMES}
    with torch.no_grad():
        judged = model(**inputs).logits.numpy()
        run.chain["qat"]._switch.on = False
        plain = model(**inputs).logits.numpy()
        run.chain["qat"]._switch.on = True
        integers = {}
        for name, module in model.named_modules():
            if isinstance(module, FakeQuantLinear):
                integers[name] = fake.signed(module.weight, fake.weight_scale(module.weight, rows=True)).numpy()
        tables = {name: module.on_grid().numpy() for name, module in model.named_modules()
                  if isinstance(module, FakeQuantEmbedding)}
    proto = quantize(to_onnx(run.chain.finish(model, setting(model)), NAMES), "int8")
    return inputs, judged, plain, integers, tables, proto


def test_the_graph_holds_the_trained_integers(exported):
    from onnx import numpy_helper

    *_, integers, tables, proto = exported
    stored = [numpy_helper.to_array(tensor) for tensor in proto.graph.initializer]
    signed = [array for array in stored if array.dtype == np.int8 and array.ndim == 2]
    assert len(signed) >= 6
    for array in signed:
        assert any((array.shape == q.T.shape and (array == q.T).all()) or (array.shape == q.shape and (array == q).all())
                   for q in integers.values()), array.shape
    unsigned = [array for array in stored if array.dtype == np.uint8 and array.ndim == 2]
    assert unsigned and all(array.min() == 0 and array.max() == 255 for array in unsigned)


def test_the_graph_answers_as_the_judged_model(exported):
    import onnxruntime

    inputs, judged, plain, _, _, proto = exported
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    # What quantization does to the logits is the yardstick; a value that falls to the other side of a step is allowed for.
    assert np.abs(found - judged).max() < 0.05 * np.abs(plain - judged).max()
