"""Post-training quantization of an ONNX encoder: dynamic and static int8, weight-only int8 and int4."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from plmc.errors import ConfigError
from plmc.export.extras import need

GROUP = 32
"""Weights of a 4-bit group that share a scale."""

WEIGHTED = ("MatMul", "Gather", "Gemm")


def quantize(
    proto: Any, scheme: str, rows: Sequence[dict[str, np.ndarray]] = (), trained: Mapping[str, Any] | None = None
) -> Any:
    """The ONNX model `proto` quantised by `scheme` (of `plmc.config.schemes.SCHEMES`); `none` returns it as it is.

    Args:
        rows: feeds by input name, int64 `(1, T)` and unpadded, from which `int8-static` takes the ranges of
            activations.
        trained: what quantization-aware training left in the model's config (`plmc.quantization`): its granularity of
            weights, so that int8 finds the trained integers, and for `int8-static` its ranges of activations in place
            of those of `rows`. Embeddings are quantised too: half of a small encoder is its embedding table.
    """
    channels = trained is None or trained["weights"] == "per_row"
    ranges = trained["ranges"] if trained else {}
    makers = {
        "int8": lambda model: dynamic(model, per_channel=channels),
        "int8-static": lambda model: static(model, rows, per_channel=channels, ranges=ranges),
        "weights8": lambda model: weight_only(model, 8),
        "int4": lambda model: weight_only(model, 4),
    }
    if scheme == "none":
        return proto
    with _quiet():
        return makers[scheme](proto)


def dynamic(proto: Any, operators: Sequence[str] = ("MatMul", "Gather"), *, per_channel: bool = True) -> Any:
    """int8 weights, symmetric; activations uint8, one scale per tensor, taken at each call.

    s = max|w| / 127 per output channel (or tensor), q = clamp(round(w / s), -127, 127); embeddings uint8 with one scale
    and zero point a table. Matrix products of two activations (attention scores and context) stay in float32, as do
    LayerNorm, Softmax, Gelu and additions. Pooler and head are quantised along.
    """
    tools = need("onnxruntime.quantization")
    with _folder() as folder:
        tools.quantize_dynamic(
            _saved(proto, folder),
            folder / "out.onnx",
            weight_type=tools.QuantType.QInt8,
            per_channel=per_channel,
            op_types_to_quantize=list(operators),
            extra_options={"MatMulConstBOnly": True},
        )
        return _loaded(folder)


def static(
    proto: Any,
    rows: Sequence[dict[str, np.ndarray]],
    *,
    per_channel: bool = True,
    ranges: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
) -> Any:
    """int8 weights, uint8 activations with scales fixed from `rows` (minimum and maximum), as QDQ nodes.

    Only what goes into a product with a weight matrix is quantised, and embeddings as in `dynamic`. By default the
    library quantises attention, the outputs of products and every addition, too, which costs most of the accuracy;
    excluding the products alone does not help where an addition, that of the bias, takes their output.
    Raises ConfigError without rows.

    Args:
        ranges: `{module: {"input": [low, high]}}` of torch modules, in place of those of `rows` where there are some.
    """
    if not rows:
        raise ConfigError(
            "int8-static needs training rows to find the ranges of activations; this data has none. Use int8."
        )
    tools = need("onnxruntime.quantization")
    proto = dynamic(proto, ["Gather"])
    overrides = {name: [{"rmin": low, "rmax": high}] for name, (low, high) in _trained(proto, ranges or {}).items()}

    class Rows(tools.CalibrationDataReader):  # type: ignore[name-defined]
        def __init__(self):
            self.left = iter(rows)

        def get_next(self):
            return next(self.left, None)

    with _folder() as folder:
        tools.quantize_static(
            _saved(proto, folder),
            folder / "out.onnx",
            Rows(),
            quant_format=tools.QuantFormat.QDQ,
            per_channel=per_channel,
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm"],
            # The library's own option for it, MatMulConstBOnly, has no effect on QDQ nodes.
            nodes_to_exclude=[node.name for node, module in _products(proto) if module is None],
            extra_options={
                "OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"],
                "TensorQuantOverrides": overrides,
            },
        )
        return _rounded_for_products_alone(_loaded(folder))


def _rounded_for_products_alone(proto: Any) -> Any:
    """The library rounds a tensor for all its consumers; here additions and LayerNorms take it as it was."""
    rounded = {node.output[0]: node.input[0] for node in proto.graph.node if node.op_type == "QuantizeLinear"}
    before = {
        node.output[0]: rounded[node.input[0]]
        for node in proto.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in rounded
    }
    for node in proto.graph.node:
        if node.op_type not in ("MatMul", "Gemm"):
            for place, name in enumerate(node.input):
                node.input[place] = before.get(name, name)
    return proto


def _products(proto: Any) -> Iterator[tuple[Any, str | None]]:
    """Matrix products with the torch module whose weight they take; None for those of two activations."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type in ("MatMul", "Gemm"):
            weight = node.input[1] if node.input[1] in weights else None
            yield node, weight and weight.removesuffix("_t").removesuffix(".weight")


def _trained(
    proto: Any, ranges: Mapping[str, Mapping[str, Sequence[float]]]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Least and largest value of the tensors that go into the matrix products of the modules in `ranges`."""
    found = {}
    for node, module in _products(proto):
        if limits := ranges.get(module, {}).get("input"):
            low, high = (np.array(limit, dtype=np.float32) for limit in limits)
            found[node.input[0]] = (low, high)
    return found


def weight_only(proto: Any, bits: int) -> Any:
    """Weight matrices of `bits` bits (8 or 4), symmetric in groups of `GROUP`; embeddings int8.

    Activations stay in float32 between operators. It saves memory rather than time: an encoder computes, it does not
    wait for its weights.
    """
    groups = need("onnxruntime.quantization.matmul_nbits_quantizer")
    # It works in place: on the caller's own model, a second scheme would find the weights of the first.
    own = need("onnx").ModelProto.FromString(proto.SerializeToString())
    # accuracy_level 4 multiplies in int8; the default unpacks to float32 at each call, 3.5 times slower than float32
    # itself.
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
