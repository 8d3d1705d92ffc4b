"""An ONNX encoder as OpenVINO IR, in float32 or quantised to int8 by NNCF."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plmc.errors import ConfigError
from plmc.export.extras import need


def to_openvino(proto: Any, scheme: str, rows: Sequence[dict[str, np.ndarray]], folder: Path) -> Any:
    """Writes `model.xml` and `model.bin` into `folder`; returns the OpenVINO model.

    `int8`: weights per channel and static activation scales from `rows`, feeds of one unpadded row each, with NNCF's
    settings for transformers (it smooths outliers between activations and weights first). Raises ConfigError without
    the packages of the extra `openvino`, and for int8 without rows.
    """
    openvino = need("openvino")
    source = folder / "source.onnx"
    need("onnx").save(proto, source)
    model = openvino.convert_model(str(source))
    source.unlink()
    if scheme == "int8":
        nncf = need("nncf")
        if not rows:
            raise ConfigError("OpenVINO int8 needs training rows to find the ranges of activations. Use --to onnx.")
        nncf.set_log_level(logging.ERROR)
        model = nncf.quantize(
            model, nncf.Dataset(list(rows)), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(rows)
        )
    # Else the weights are rounded to 16 bits on the way to disk.
    openvino.save_model(model, str(folder / "model.xml"), compress_to_fp16=False)
    return model


def constants(model: Any) -> dict[str, torch.Tensor]:
    """The stored tensors of an OpenVINO model by name."""
    found = [op for op in model.get_ops() if op.get_type_name() == "Constant"]
    return {op.get_friendly_name(): torch.from_numpy(np.array(op.data)) for op in found}
