"""A trained encoder as an ONNX graph with free batch and sequence axes."""

from __future__ import annotations

import ast
import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from typing import Any

import torch
from torch import nn

from plmc.errors import ConfigError
from plmc.export.extras import need
from plmc.models.attention import eager
from plmc.models.modes import evaluating

OPSET = 20
"""The first version with Gelu as one operator; before it, a chain around Erf that no runtime fuses again."""

AXES = ("batch", "sequence")
RANDOM = (
    "Dropout",
    "Bernoulli",
    "RandomUniform",
    "RandomUniformLike",
    "RandomNormal",
    "RandomNormalLike",
    "Multinomial",
)
_SCOPES = "pkg.torch.onnx.name_scopes"
_WEIGHTED = {"MatMul": 1, "Gemm": 1, "Gather": 0}


class _Logits(nn.Module):
    """Positional inputs to a tuple of logits: what the exporter needs to see."""

    def __init__(self, model: nn.Module, names: Sequence[str]):
        super().__init__()
        self.model, self.names = model, tuple(names)

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        output = self.model(**dict(zip(self.names, inputs, strict=True)), return_dict=True)
        return (output.start_logits, output.end_logits) if "start_logits" in output else (output.logits,)


def to_onnx(model: Any, names: Sequence[str]) -> Any:
    """`model` (a transformers encoder with a task head, on the CPU) as an `onnx.ModelProto`.

    Inputs: `names`, int64 `(batch, sequence)`. Outputs: `logits` `(batch, classes)`, or `start_logits` and `end_logits`
    `(batch, sequence)`. The graph is always traced in evaluation mode and with eager attention
    (SDPA leaves Where and IsNaN around every layer); afterwards the model is as it was. Weight matrices keep the name
    of their module, matrices of Linear layers transposed under `NAME.weight_t`. The same model gives the same bytes.
    Raises ConfigError if anything random is left in the graph.
    """
    onnx = need("onnx")
    need("onnxscript")
    reader = "QuestionAnswering" in type(model).__name__
    outputs = ["start_logits", "end_logits"] if reader else ["logits"]
    example = tuple(torch.ones(2, 8, dtype=torch.long) for _ in names)
    axes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    with evaluating(model), eager(model), _silent():
        program = torch.onnx.export(
            _Logits(model, names).eval(),
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(names),
            output_names=outputs,
            dynamic_shapes=(tuple(axes for _ in names),),
            verbose=False,
        )
    proto = program.model_proto
    _name_weights(proto)
    _tidy(proto, reader)
    check_deterministic(proto)
    onnx.checker.check_model(proto)
    return proto


def check_deterministic(proto: Any) -> None:
    """Raises ConfigError for a graph that draws random numbers, as one traced in training mode does."""
    wrong = sorted({node.op_type for node in proto.graph.node} & set(RANDOM))
    if wrong:
        raise ConfigError(
            f"the graph draws random numbers ({', '.join(wrong)}), as in training: the same text would get another "
            "answer at each call. Export the model in evaluation mode."
        )


@contextmanager
def _silent() -> Iterator[None]:
    """Without the exporter's own progress lines and remarks about packages that text models never use."""
    loud = logging.getLogger("torch.onnx")
    level = loud.level
    loud.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        loud.setLevel(level)


def _name_weights(proto: Any) -> None:
    """Gives the matrices of Linear and Embedding modules the modules' names; constant folding leaves them numbers."""
    graph = proto.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    renamed: dict[str, str] = {}
    count: Counter[str] = Counter()  # an adapter has two matrices in one module
    for node in graph.node:
        place = _WEIGHTED.get(node.op_type)
        if place is None or node.input[place] not in stored or len(stored[node.input[place]].dims) != 2:
            continue
        module = _module(node)
        if module and node.input[place] not in renamed:
            name = f"{module}.{'weight_t' if node.op_type == 'MatMul' else 'weight'}"
            count[name] += 1
            renamed[node.input[place]] = f"{name}_{count[name]}" if count[name] > 1 else name
    taken = set(stored)
    renamed = {old: new for old, new in renamed.items() if new not in taken}
    for tensor in graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name).removeprefix("model.")
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name in stored:
                node.input[i] = renamed.get(name, name).removeprefix("model.")


def _module(node: Any) -> str | None:
    """The module that a node was traced in, such as `model.bert.encoder.layer.0.output.dense`."""
    scopes = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES), None)
    names = [name for name in ast.literal_eval(scopes) if name.startswith("model.")] if scopes else []
    return names[-1] if names else None


def _tidy(proto: Any, reader: bool) -> None:
    """Names the free axes and drops what the tracer remembers: stack traces, with the paths of the machine it ran
    on."""
    graph = proto.graph
    for value in graph.input:
        _name_axes(value, AXES)
    for value in graph.output:
        _name_axes(value, AXES if reader else AXES[:1])
    del graph.value_info[:]
    for part in (proto, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
    for node in graph.node:
        node.doc_string = ""


def _name_axes(value: Any, names: Sequence[str]) -> None:
    for dimension, name in zip(value.type.tensor_type.shape.dim, names, strict=False):
        dimension.dim_param = name
