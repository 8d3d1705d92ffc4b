"""Post-training quantization of an ONNX encoder: dynamic and static int8, weight-only int8 and int4."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from plmc.errors import ConfigError
from plmc.export.extras import need

GROUP = 32
"""Weights of a 4-bit group that share a scale."""

WEIGHTED = ("MatMul", "Gather", "Gemm")


def quantize(proto: Any, scheme: str, rows: Sequence[dict[str, np.ndarray]] = ()) -> Any:
    """The ONNX model `proto` quantised by `scheme` (of `plmc.export.schemes.SCHEMES`); `none` returns it as it is.

    `rows`: feeds by input name, int64 `(1, T)` and unpadded, from which `int8-static` takes the ranges of activations.
    Embeddings are quantised too: half of a small encoder is its embedding table.
    """
    makers = {"int8": dynamic, "weights8": lambda model: weight_only(model, 8), "int4": lambda model: weight_only(model, 4)}
    if scheme == "none":
        return proto
    with _quiet():
        return static(proto, rows) if scheme == "int8-static" else makers[scheme](proto)


def dynamic(proto: Any, operators: Sequence[str] = ("MatMul", "Gather")) -> Any:
    """int8 weights, symmetric and per output channel; activations uint8, one scale per tensor, taken at each call.

    s = max|w| / 127 per channel, q = clamp(round(w / s), -127, 127); embeddings uint8 with one scale and zero point a
    table. Matrix products of two activations (attention scores and context) stay in float32, as do LayerNorm, Softmax, Gelu
    and additions. Pooler and head are quantised along.
    """
    tools = need("onnxruntime.quantization")
    with _folder() as folder:
        tools.quantize_dynamic(
            _saved(proto, folder), folder / "out.onnx", weight_type=tools.QuantType.QInt8, per_channel=True,
            op_types_to_quantize=list(operators), extra_options={"MatMulConstBOnly": True},
        )
        return _loaded(folder)


def static(proto: Any, rows: Sequence[dict[str, np.ndarray]]) -> Any:
    """int8 weights per channel, uint8 activations with scales fixed from `rows` (minimum and maximum), as QDQ nodes.

    Only the inputs of matrix products and the embeddings are quantised. By default the library quantises the outputs of
    products and every addition, too, which costs most of the accuracy; excluding the products alone does not help where an
    addition, that of the bias, takes their output.
    Raises ConfigError without rows.
    """
    if not rows:
        raise ConfigError("int8-static needs training rows to find the ranges of activations; this data has none. Use int8.")
    tools = need("onnxruntime.quantization")

    class Rows(tools.CalibrationDataReader):
        def __init__(self):
            self.left = iter(rows)

        def get_next(self):
            return next(self.left, None)

    with _folder() as folder:
        tools.quantize_static(
            _saved(proto, folder), folder / "out.onnx", Rows(), quant_format=tools.QuantFormat.QDQ, per_channel=True,
            activation_type=tools.QuantType.QUInt8, weight_type=tools.QuantType.QInt8,
            op_types_to_quantize=list(WEIGHTED), extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"]},
        )
        return _loaded(folder)


def weight_only(proto: Any, bits: int) -> Any:
    """Weight matrices of `bits` bits (8 or 4), symmetric in groups of `GROUP`; embeddings int8.

    Activations stay in float32 between operators. It saves memory rather than time: an encoder computes, it does not wait for
    its weights.
    """
    groups = need("onnxruntime.quantization.matmul_nbits_quantizer")
    # It works in place: on the caller's own model, a second scheme would find the weights of the first.
    own = need("onnx").ModelProto.FromString(proto.SerializeToString())
    # accuracy_level 4 multiplies in int8; the default unpacks to float32 at each call, 3.5 times slower than float32 itself.
    quantiser = groups.MatMulNBitsQuantizer(
        own, bits=bits, block_size=GROUP, is_symmetric=True, accuracy_level=4, op_types_to_quantize=("MatMul",)
    )
    quantiser.process()
    return dynamic(quantiser.model.model, ["Gather"])


def kept_float(proto: Any) -> dict[str, int]:
    """How many operators with a float32 weight matrix the graph still has, by type."""
    onnx = need("onnx")
    floats = {t.name for t in proto.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) == 2}
    found: dict[str, int] = {}
    for node in proto.graph.node:
        if node.op_type in WEIGHTED and floats & set(node.input):
            found[node.op_type] = found.get(node.op_type, 0) + 1
    return found


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="plmc-export-") as name:
        yield Path(name)


def _saved(proto: Any, folder: Path) -> Path:
    # The tools write shapes into the model they are given; from a file they take a copy.
    path = folder / "in.onnx"
    need("onnx").save(proto, path)
    return path


def _loaded(folder: Path) -> Any:
    return need("onnx").load(folder / "out.onnx")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the tools' advice to run a preprocessing that finds nothing to do in these graphs."""
    loud = logging.getLogger()
    level = loud.level
    loud.setLevel(logging.ERROR)
    try:
        yield
    finally:
        loud.setLevel(level)
