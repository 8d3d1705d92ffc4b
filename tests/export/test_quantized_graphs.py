"""What the schemes do to a graph, and the traps of the library's defaults."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from deployed import feed_of, inputs_of, model_of

from plmc.config.schemes import NONE, SCHEMES, Plan, asked
from plmc.errors import ConfigError
from plmc.export.onnx import to_onnx
from plmc.export.quantize import dynamic, kept_float, quantize, static, weight_only
from plmc.measure.host import instruction_sets

INT8 = onnx.TensorProto.INT8

# Without these units the library adds pairs of int8 products in 16 bits, which overflow.
EXACT = pytest.mark.skipif(
    not {"avx512_vnni", "avx_vnni", "amx_int8"} & set(instruction_sets()),
    reason="int8 products overflow on this processor",
)


@pytest.fixture(scope="module")
def proto():
    # Wide enough that sizes are those of weights.
    return to_onnx(model_of("bert", "classification", width=64), inputs_of("bert"))


@pytest.fixture(scope="module")
def rows():
    return [feed_of("bert", 1, tokens, seed=tokens) for tokens in range(3, 19)]


def logits(proto, feed):
    return ort.InferenceSession(proto.SerializeToString()).run(None, feed)[0]


def tensors(proto):
    return {tensor.name: tensor for tensor in proto.graph.initializer}


def test_none_is_the_model_itself(proto):
    assert quantize(proto, NONE) is proto


def test_int8_has_a_scale_per_channel_and_quantizes_embeddings(proto):
    made = tensors(dynamic(proto))
    name = "bert.encoder.layer.0.intermediate.dense.weight_t"
    assert made[f"{name}_quantized"].data_type == INT8
    assert list(made[f"{name}_scale"].dims) == [48]
    assert not np.any(onnx.numpy_helper.to_array(made[f"{name}_zero_point"]))
    assert made["bert.embeddings.word_embeddings.weight_quantized"].data_type == onnx.TensorProto.UINT8
    assert name not in made and kept_float(dynamic(proto)) == {}


def test_int8_weights_are_the_symmetric_rounding_of_the_float_ones(proto):
    name = "bert.encoder.layer.1.output.dense.weight_t"
    before, made = tensors(proto), tensors(dynamic(proto))
    weight = onnx.numpy_helper.to_array(before[name])
    scale = onnx.numpy_helper.to_array(made[f"{name}_scale"])
    values = onnx.numpy_helper.to_array(made[f"{name}_quantized"]).astype(np.float32)
    np.testing.assert_allclose(scale, np.abs(weight).max(axis=0) / 127, rtol=1e-2)
    assert np.abs(values * scale - weight).max() <= 0.51 * scale.max()


def test_products_of_two_activations_stay_float(proto):
    kinds = [node.op_type for node in dynamic(proto).graph.node]
    assert kinds.count("MatMul") == 2 * 2  # scores and context of two blocks


def test_static_does_not_quantize_the_outputs_of_matrix_products(proto, rows):
    made = static(proto, rows)
    products = {output for node in made.graph.node if node.op_type == "MatMul" for output in node.output}
    assert products
    assert not [n for n in made.graph.node if n.op_type == "QuantizeLinear" and n.input[0] in products]


def test_static_without_rows_is_refused(proto):
    with pytest.raises(ConfigError, match="training rows"):
        static(proto, [])


@pytest.mark.parametrize("scheme", ["int8", "weights8", "int4", "int8-static"])
def test_schemes_leave_their_input_alone_and_the_same_input_gives_the_same_file(proto, rows, scheme):
    before = proto.SerializeToString()
    first = quantize(proto, scheme, rows).SerializeToString()
    assert proto.SerializeToString() == before
    assert quantize(proto, scheme, rows).SerializeToString() == first


@EXACT
def test_more_bits_are_nearer_to_the_model(proto, rows):
    rows = rows[::3]
    exact = np.concatenate([logits(proto, feed) for feed in rows])

    def error(made):
        return np.abs(np.concatenate([logits(made, feed) for feed in rows]) - exact).mean()

    assert error(weight_only(proto, 8)) < error(weight_only(proto, 4))
    assert error(dynamic(proto)) < 0.1 * np.abs(exact).mean()


def test_unknown_names_and_impossible_pairs_are_refused_with_what_there_is():
    with pytest.raises(ConfigError, match="Did you mean int8"):
        Plan("onnx", "int9")
    with pytest.raises(ConfigError, match="Did you mean onnx"):
        Plan("onxx")
    with pytest.raises(ConfigError, match="bf16 goes with --to torch"):
        Plan("onnx", "bf16")
    with pytest.raises(ConfigError, match="torch takes none, int8, weights8, bf16"):
        Plan("torch", "int4")


def test_every_scheme_has_a_plan_of_its_own_name():
    names = [Plan(form, scheme).name for scheme, (formats, _) in SCHEMES.items() for form in formats]
    assert len(set(names)) == len(names)


def test_what_a_config_asks_for():
    assert asked(None) == asked("none") == ()
    assert asked("int8") == (Plan("onnx", "int8"),)
    assert [plan.name for plan in asked(["bf16", "int8", "int8"])] == ["torch-bf16", "onnx-int8"]
    for wrong in ("int9", ["int8", "x"], {"a": 1}, [3]):
        with pytest.raises(ConfigError):
            asked(wrong)
