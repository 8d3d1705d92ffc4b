"""Tensors in the fewest bytes that give them back bit for bit: what a compression ratio is measured by."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plmc.errors import DamagedFile, DataError
from plmc.export.extras import need
from plmc.files import replacing

MAGIC = b"PLMC\x01"
SUFFIX = ".plmc"
# Beyond this share of stored values a mask costs more than it saves.
_SPARSE = 0.95
# Mantissas and rounded weights look like noise: levels 9 and 19 gain 1 % at many times the work.
_LEVEL = 3
Tensors = Mapping[str, torch.Tensor]


def write_compact(tensors: Tensors, path: Path) -> int:
    """Writes the tensors to `path`, atomically; returns its size in bytes.

    Each tensor takes the smallest of three forms, all compressed with zstd: dense; a bitmap of its non-zero places and
    their values; the gaps between them and their values (compressed sparse row, flattened). Zero means that every bit
    is zero:
    -0.0 is a value. Bytes are sorted by their place in the number, so exponents are next to exponents. Any dtype of
    torch.
    """
    data = _packed(tensors)
    with replacing(path) as temporary:
        temporary.write_bytes(data)
    return len(data)


def read_compact(path: Path) -> dict[str, torch.Tensor]:
    """What `write_compact` was given, bit for bit. Raises DataError for a damaged file."""
    data = Path(path).read_bytes()
    if data[: len(MAGIC)] != MAGIC:
        raise DataError(f"{path} is no compact file of plmc.")
    zstd = need("zstandard").ZstdDecompressor()
    start = len(MAGIC) + 4
    try:
        (length,) = struct.unpack("<I", data[len(MAGIC) : start])
        entries = json.loads(zstd.decompress(data[start : start + length]))
        place, found = start + length, {}
        for name, form, dtype, shape, sizes in entries:
            parts = []
            for size in sizes:
                parts.append(zstd.decompress(data[place : place + size]))
                place += size
            found[name] = _tensor(form, getattr(torch, dtype), shape, parts)
    except MemoryError:
        raise
    except Exception as error:  # with other content each of these steps fails differently
        raise DamagedFile(f"{path} is damaged ({type(error).__name__}: {error}). Export again.") from error
    return found


def compact_size(tensors: Tensors) -> int:
    """Bytes of the file that `write_compact` would write."""
    return len(_packed(tensors))


def encoder_ratio(dense: Mapping[str, torch.Tensor], tensors: Tensors) -> float:
    """Bytes of the encoder's matrices as dense float32, over their bytes in compact form in `tensors`.

    Raises DataError if a matrix has none.

    Args:
        dense: the six linear matrices of every block by name, `bert.encoder.layer.0.output.dense.weight` for one (see
            `plmc.models.encoder.pruned_linears`); only their sizes count.
        tensors: those of that model, perhaps quantised; each whose name begins with that of a matrix (values, scales,
            zero points) belongs to it.
    """
    chosen: dict[str, torch.Tensor] = {}
    for name in dense:
        own = belonging(name, tensors)
        if not own:
            raise DataError(f"{name} is not among the compact tensors ({', '.join(sorted(tensors)[:3])}, …).")
        chosen |= {key: tensors[key] for key in own}
    return 4 * sum(matrix.numel() for matrix in dense.values()) / compact_size(chosen)


def belonging(matrix: str, names: Iterable[str]) -> list[str]:
    """The tensors that together are `matrix`: itself, or its quantised values with scales and zero points."""
    ends = ("", "_t", "_quantized", "_scale", "_zero_point", "_scales", "_Q4", "_Q8")
    wanted = {matrix + middle + end for middle in ("", "_t") for end in ends}
    # torchao: module._weight_qdata.
    module, _, field = matrix.rpartition(".")
    wanted |= {f"{module}._{field}_{end}" for end in ("qdata", "scale", "zero_point")}
    return [name for name in names if name in wanted]


def _packed(tensors: Tensors) -> bytes:
    # Without it, a flipped bit may decompress to other numbers.
    zstd = need("zstandard").ZstdCompressor(level=_LEVEL, write_checksum=True)
    entries: list[Any] = []
    body: list[bytes] = []
    for name, tensor in tensors.items():
        form, parts = _smallest(tensor.detach().cpu().contiguous(), zstd)
        entries.append(
            [name, form, str(tensor.dtype).removeprefix("torch."), list(tensor.shape), [len(p) for p in parts]]
        )
        body += parts
    head = zstd.compress(json.dumps(entries, separators=(",", ":")).encode())
    return b"".join([MAGIC, struct.pack("<I", len(head)), head, *body])


def _smallest(tensor: torch.Tensor, zstd: Any) -> tuple[str, list[bytes]]:
    values = _bytes(tensor)
    real = values.any(axis=1)
    if not len(values) or real.mean() > _SPARSE:
        return "dense", [zstd.compress(_shuffled(values))]
    places = np.flatnonzero(real)
    gaps = np.diff(places, prepend=-1)
    kept = zstd.compress(_shuffled(values[real]))
    forms = {
        "bitmap": [zstd.compress(np.packbits(real).tobytes()), kept],
        "gaps": [zstd.compress(_shuffled(_bytes(torch.from_numpy(gaps.astype(_width(gaps)))))), kept],
        "dense": [zstd.compress(_shuffled(values))],
    }
    best = min(forms, key=lambda form: sum(map(len, forms[form])))
    return best, forms[best]


def _tensor(form: str, dtype: torch.dtype, shape: list[int], parts: list[bytes]) -> torch.Tensor:
    count, width = int(np.prod(shape)), torch.empty(0, dtype=dtype).element_size()
    if form == "dense":
        values = _unshuffled(parts[0], width)
    else:
        stored = _unshuffled(parts[1], width)
        if form == "bitmap":
            places = np.flatnonzero(np.unpackbits(np.frombuffer(parts[0], np.uint8), count=count))
        else:
            size = len(parts[0]) // len(stored) if len(stored) else 1
            gaps = (
                _unshuffled(parts[0], size)
                .copy()
                .view({1: np.uint8, 2: np.uint16, 4: np.int32, 8: np.int64}[size])
                .ravel()
            )
            places = np.cumsum(gaps.astype(np.int64)) - 1
        values = np.zeros((count, width), np.uint8)
        values[places] = stored
    if len(values) != count:
        raise ValueError(f"{len(values)} values where {count} belong")
    flat = torch.from_numpy(np.ascontiguousarray(values).reshape(-1).copy())
    return flat.view(dtype).reshape(shape) if count else torch.empty(shape, dtype=dtype)


def _bytes(tensor: torch.Tensor) -> np.ndarray:
    """`(N, bytes of a value)`."""
    flat = tensor.reshape(-1)
    return flat.view(torch.uint8).numpy().reshape(flat.numel(), -1) if flat.numel() else np.zeros((0, 1), np.uint8)


def _width(gaps: np.ndarray) -> type:
    largest = int(gaps.max()) if len(gaps) else 0
    return next(kind for kind in (np.uint8, np.uint16, np.int32, np.int64) if largest <= np.iinfo(kind).max)


def _shuffled(values: np.ndarray) -> bytes:
    return np.ascontiguousarray(values.T).tobytes()


def _unshuffled(data: bytes, width: int) -> np.ndarray:
    return np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(width, -1).T)
