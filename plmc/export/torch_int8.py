"""Int8 weights in PyTorch by torchao, for GPUs above all: saved so that transformers alone loads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from plmc.export.extras import need


def quantized(kind: Any, folder: Path, scheme: str) -> torch.nn.Module:
    """The model in `folder` as the model class `kind` with int8 weights in every Linear, symmetric, one scale a row.

    Args:
        scheme: `int8` also rounds activations, each token by its own range; `weights8` computes in float32. Embeddings
            stay in float32. The model's `save_pretrained` keeps the integers.
    """
    need("torchao.quantization")
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    # Inductor's options are global: setting them is left to whoever compiles.
    chosen = {
        "int8": lambda: Int8DynamicActivationInt8WeightConfig(version=2, set_inductor_config=False),
        "weights8": lambda: Int8WeightOnlyConfig(version=2, set_inductor_config=False),
    }[scheme]()
    return kind.from_pretrained(
        folder,
        dtype=torch.float32,
        use_safetensors=True,
        trust_remote_code=False,
        quantization_config=TorchAoConfig(chosen),
    ).eval()
