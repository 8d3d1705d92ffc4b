"""The judged model of quantization-aware training is the int8 model that ONNX Runtime runs."""

import numpy as np
import pytest
import torch
from loop import batch, setting, start, tiny

from plmc.measure.host import instruction_sets
from plmc.methods.quant import fake
from plmc.methods.quant.modules import FakeQuantLinear
from plmc.methods.quant.qat import QAT
from plmc.models import encoder

# Without these units the library adds pairs of int8 products in 16 bits, which overflow.
EXACT = pytest.mark.skipif(
    not {"avx512_vnni", "avx_vnni", "amx_int8"} & set(instruction_sets()),
    reason="int8 products overflow on this processor",
)
NAMES = ("input_ids", "attention_mask")


# The graph that computes what the scheme trains for.
GRAPHS = {"per_channel": "int8", "static": "int8-static", "prune_ofa": "int8-static"}


@pytest.fixture(scope="module")
def exported(request):
    """A trained student as it is judged: its logits, its integers, and the quantized graph of what `finish` makes of
    it."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from plmc.export.onnx import to_onnx
    from plmc.export.quantize import quantize

    run = start({"qat": QAT(scheme=request.param)}, model=tiny(num_hidden_layers=1)).go()
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
                integers[name] = fake.signed(module.weight, fake.weight_scale(module.weight, rows=module.rows)).numpy()
    finished = run.chain.finish(model, setting(model))
    trained = encoder.record(finished.config)["quantization"]
    # Of these rows nothing but the ranges of modules without a trained one is taken.
    feeds = [{name: 1 + value[:1].numpy() % 2 for name, value in inputs.items()}]
    proto = quantize(to_onnx(finished, NAMES), GRAPHS[request.param], feeds, trained)
    return inputs, judged, plain, integers, trained["ranges"], proto


@pytest.mark.parametrize("exported", GRAPHS, indirect=True)
def test_the_graph_holds_the_trained_integers(exported):
    from onnx import numpy_helper

    *_, integers, _, proto = exported
    stored = [numpy_helper.to_array(tensor) for tensor in proto.graph.initializer]
    signed = [array for array in stored if array.dtype == np.int8 and array.ndim == 2]
    assert len(signed) >= 6
    for array in signed:
        assert any(
            (array.shape == q.T.shape and (array == q.T).all()) or (array.shape == q.shape and (array == q).all())
            for q in integers.values()
        ), array.shape
    unsigned = [array for array in stored if array.dtype == np.uint8 and array.ndim == 2]
    assert unsigned and all(array.min() == 0 and array.max() == 255 for array in unsigned)


@pytest.mark.parametrize("exported", ["static", "prune_ofa"], indirect=True)
def test_the_graph_has_the_trained_ranges(exported):
    from onnx import numpy_helper

    *_, ranges, proto = exported
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    pairs = {
        (float(stored[node.input[1]]), int(stored[node.input[2]]))
        for node in proto.graph.node
        if node.op_type == "QuantizeLinear" and node.input[1] in stored and stored[node.input[1]].ndim == 0
    }
    assert len(ranges) >= 6
    for name, found in ranges.items():
        scale, zero = (float(value) for value in fake.affine_grid(*map(torch.tensor, found["input"])))
        assert any(scale == pytest.approx(other, rel=1e-6) and zero == point for other, point in pairs), name


# The scheme of Prune OFA rounds the outputs of products, too, which the graph does not.
@EXACT
@pytest.mark.parametrize("exported", ["per_channel", "static"], indirect=True)
def test_the_graph_answers_as_the_judged_model(exported):
    import onnxruntime

    inputs, judged, plain, _, _, proto = exported
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    # What quantization does to the logits is the yardstick; a value that falls to the other side of a step is allowed
    # for.
    assert np.abs(found - judged).max() < 0.05 * np.abs(plain - judged).max()
