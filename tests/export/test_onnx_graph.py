"""The traced graph is the model, for every shape of input, and in evaluation mode whatever mode the model is in."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from deployed import FAMILIES, feed_of, inputs_of, model_of

from plmc.errors import ConfigError
from plmc.export.onnx import OPSET, check_deterministic, to_onnx

CASES = [(family, head) for family in FAMILIES for head in ("classification", "span")]


def run(proto, feed):
    session = ort.InferenceSession(proto.SerializeToString())
    return session.run(None, {value.name: feed[value.name] for value in session.get_inputs()})


def torch_logits(model, feed):
    with torch.inference_mode():
        output = model(**{name: torch.from_numpy(array) for name, array in feed.items()})
    heads = (output.start_logits, output.end_logits) if "start_logits" in output else (output.logits,)
    return [head.numpy() for head in heads]


@pytest.mark.parametrize("family, head", CASES)
def test_graph_gives_the_models_logits_for_any_batch_and_length(graphs, family, head):
    proto, model = graphs(family, head), model_of(family, head)
    for rows, tokens in ((1, 1), (1, 9), (3, 5), (2, 40)):
        feed = feed_of(family, rows, tokens)
        real = feed["attention_mask"] == 1
        for mine, theirs in zip(run(proto, feed), torch_logits(model, feed), strict=True):
            if head == "span":
                mine, theirs = mine[real], theirs[real]
            np.testing.assert_allclose(mine, theirs, atol=2e-5)


@pytest.mark.parametrize("family, head", CASES)
def test_axes_are_free_and_named_and_weights_have_their_modules_names(graphs, family, head):
    graph = graphs(family, head).graph
    assert [value.name for value in graph.input] == list(inputs_of(family))
    for value in graph.input:
        assert [d.dim_param for d in value.type.tensor_type.shape.dim] == ["batch", "sequence"]
    assert [value.name for value in graph.output] == (["start_logits", "end_logits"] if head == "span" else ["logits"])
    matrices = [t.name for t in graph.initializer if t.name.endswith("weight_t")]
    blocks = [name for name in matrices if ".layer.0." in name]
    assert len(blocks) == 6 and all(name.startswith(f"{family}.") for name in blocks)


def test_a_model_in_training_mode_is_exported_in_evaluation_mode():
    calm, restless = (model_of("bert", "classification", dropout=0.5) for _ in range(2))
    restless.train()
    restless.bert.pooler.eval()
    states = [module.training for module in restless.modules()]
    names = inputs_of("bert")
    assert to_onnx(restless, names).SerializeToString() == to_onnx(calm, names).SerializeToString()
    assert [module.training for module in restless.modules()] == states


def test_attention_implementation_is_put_back():
    model = model_of("bert", "classification")
    model.set_attn_implementation("sdpa")
    proto = to_onnx(model, inputs_of("bert"))
    assert model.config._attn_implementation == "sdpa"
    assert "IsNaN" not in {node.op_type for node in proto.graph.node}


def test_a_graph_that_draws_random_numbers_is_refused(graphs):
    proto = onnx.ModelProto.FromString(graphs("bert", "classification").SerializeToString())
    check_deterministic(proto)
    proto.graph.node.add(op_type="Dropout", input=["x"], output=["y"])
    with pytest.raises(ConfigError, match="evaluation mode"):
        check_deterministic(proto)


def test_nothing_of_the_machine_stays_in_the_file(graphs):
    proto = graphs("bert", "classification")
    assert b".py" not in proto.SerializeToString()
    assert {entry.domain: entry.version for entry in proto.opset_import}[""] == OPSET
    assert "Gelu" in {node.op_type for node in proto.graph.node}
