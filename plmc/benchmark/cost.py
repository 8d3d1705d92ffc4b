"""What a contender weighs: parameters, non-zero ones, bytes on disk, multiplications for a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from plmc.benchmark.contenders import EXPORTS, Contender

PROBES = (8, 16, 32)


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulate operations of a row of T tokens without padding: `a + b T + c T^2`.

    Exact for encoders: heads on the first token give a, Linear layers b, attention c. Zeros count like any number.
    """

    a: float
    b: float
    c: float

    def mean(self, lengths: np.ndarray) -> float:
        """Over rows of these lengths."""
        lengths = np.asarray(lengths, dtype=float)
        return float(np.mean(self.a + self.b * lengths + self.c * lengths**2))


def macs(model: Any) -> Macs:
    """Counts the matrix products of a transformers model by running it on rows of three lengths, and fits them
    exactly."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from plmc.models.attention import eager

    counts = []
    # Fused attention kernels have no count on every device; the plain products are the same ones.
    with eager(model):
        for tokens in PROBES:
            ids = torch.full((1, tokens), 5, dtype=torch.long, device=next(model.parameters()).device)
            with FlopCounterMode(display=False) as counter, torch.inference_mode():
                model(input_ids=ids, attention_mask=torch.ones_like(ids))
            counts.append(counter.get_total_flops() / 2)
    c, b, a = np.linalg.solve(np.vander(np.array(PROBES, dtype=float), 3), np.array(counts))
    return Macs(float(a), float(b), float(c))


def weigh(contender: Contender) -> dict[str, Any]:
    """`parameters`, `nonzero_parameters`, `size_bytes`, `compact_bytes` and `macs` (Macs); None where nothing tells.

    Quantization moves neither parameters nor products, so an export is counted by the torch model it was made from,
    where that is still there.
    """
    from plmc.export.source import load_model
    from plmc.measure import figures

    facts = contender.facts
    found: dict[str, Any] = {
        "parameters": facts.get("parameters"),
        "nonzero_parameters": facts.get("nonzero_parameters"),
        "size_bytes": facts.get("size_bytes") or _files(contender),
        "compact_bytes": facts.get("compact_bytes"),
        "macs": None,
    }
    origin = _torch_folder(contender)
    if origin is not None:
        model = load_model(origin)
        found["macs"] = macs(model)
        if contender.is_torch and found["compact_bytes"] is None:
            found["compact_bytes"] = _compact(model)
        for key, count in (("parameters", figures.parameters), ("nonzero_parameters", figures.nonzero_parameters)):
            found[key] = found[key] if found[key] is not None else count(model)
    return found


def _compact(model: Any) -> int | None:
    """Bytes of the model packed (see `plmc.export.compact`); None without the package that packs."""
    from importlib.util import find_spec

    from plmc.export.compact import compact_size

    return compact_size(model.state_dict()) if find_spec("zstandard") else None


def _torch_folder(contender: Contender) -> Path | None:
    if contender.is_torch:
        return contender.model
    source = (contender.facts.get("source") or {}).get("model")
    places = [Path(source)] if source else []
    if contender.run and EXPORTS in contender.model.relative_to(contender.run).parts:
        # A run that was moved takes its exports along.
        places.insert(0, contender.run / "model")
    return next((folder for folder in places if (folder / "config.json").is_file()), None)


def _files(contender: Contender) -> int:
    from plmc.measure.figures import size_bytes

    if contender.is_torch:
        return size_bytes(contender.model)
    path = contender.path
    if path.suffix == ".xml" or (contender.model / "model.xml").is_file():
        return sum(file.stat().st_size for file in contender.model.glob("model.*") if file.suffix in (".xml", ".bin"))
    files = [path, path.with_name(f"{path.name}.data")] if path.is_file() else contender.model.glob("*.onnx*")
    return sum(file.stat().st_size for file in files if file.is_file())
