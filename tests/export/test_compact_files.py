"""Compact files give back every bit, and are as small as sparsity allows."""

from __future__ import annotations

import pytest
import torch

from plmc.errors import DataError
from plmc.export.compact import belonging, compact_size, encoder_ratio, read_compact, write_compact


def sparse(shape, share: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(shape, generator=generator)
    weight[torch.rand(shape, generator=generator) < share] = 0
    return weight


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


ODD = torch.tensor([0.0, -0.0, float("nan"), float("inf"), -float("inf"), 1e-45, 0.0, 0.0, 0.0, 0.0])
CASES = {
    "dense": sparse((17, 33), 0),
    "half": sparse((64, 65), 0.5),
    "sparse": sparse((64, 65), 0.9),
    "very sparse": sparse((300, 301), 0.9995),
    "one value": torch.eye(1, 70_000),
    "zeros": torch.zeros(5, 7),
    "special": ODD,
    "scalar": torch.tensor(3.5),
    "empty": torch.zeros(0, 4),
    "half precision": sparse((31, 9), 0.8).half(),
    "bfloat16": sparse((31, 9), 0.8).bfloat16(),
    "int8": (sparse((40, 50), 0.9) * 40).round().to(torch.int8),
    "uint8": torch.arange(256).to(torch.uint8),
    "int32": torch.arange(-5, 5, dtype=torch.int32),
    "int64": torch.tensor([0, 0, 2**60, -1]),
    "bool": torch.tensor([True, False, True]),
    "float64": sparse((9, 9), 0.7).double(),
    "transposed": sparse((12, 40), 0.9).t(),
}


@pytest.mark.parametrize("name", CASES)
def test_bits_come_back(tmp_path, name):
    write_compact({name: CASES[name]}, tmp_path / "w.plmc")
    back = read_compact(tmp_path / "w.plmc")[name]
    assert back.dtype == CASES[name].dtype and back.shape == CASES[name].shape
    assert bits(back) == bits(CASES[name])


def test_all_at_once_in_order_and_of_the_announced_size(tmp_path):
    size = write_compact(CASES, tmp_path / "w.plmc")
    back = read_compact(tmp_path / "w.plmc")
    assert list(back) == list(CASES) and all(bits(back[name]) == bits(CASES[name]) for name in CASES)
    assert size == (tmp_path / "w.plmc").stat().st_size == compact_size(CASES)
    assert [path.name for path in tmp_path.iterdir()] == ["w.plmc"]


def test_sizes_follow_the_information_in_the_weights():
    count = 400 * 400
    sizes = {share: 8 * compact_size({"w": sparse((400, 400), share)}) / count for share in (0.0, 0.5, 0.9, 0.99)}
    assert 25 < sizes[0.0] < 30  # exponents compress, mantissas do not
    # A value costs 32 bits at most, its place the entropy of a coin of that bias; some slack for codes of whole bits.
    assert sizes[0.9] < 0.1 * 32 + 0.469 * 1.15
    assert sizes[0.99] < 0.01 * 32 + 0.081 * 1.5
    assert sizes[0.0] > sizes[0.5] > sizes[0.9] > sizes[0.99]


def test_encoder_ratio_counts_values_scales_and_zero_points_of_the_matrices_only():
    name = "bert.encoder.layer.0.output.dense.weight"
    weight = sparse((300, 300), 0.9)
    scale = weight.abs().amax(0) / 127
    quantised = {
        f"{name}_t_quantized": (weight / scale).round().to(torch.int8),
        f"{name}_t_scale": scale,
        f"{name}_t_zero_point": torch.zeros(300, dtype=torch.int8),
        "bert.embeddings.word_embeddings.weight": weight,
        f"{name}_t_quantized.more": weight,
    }
    assert len(belonging(name, quantised)) == 3
    in_int8 = encoder_ratio({name: weight}, quantised)
    assert in_int8 == pytest.approx(4 * 300 * 300 / compact_size({k: quantised[k] for k in belonging(name, quantised)}))
    assert in_int8 > 20 > encoder_ratio({name: weight}, {name: weight}) > 8
    with pytest.raises(DataError, match="not among"):
        encoder_ratio({"bert.x.weight": weight}, quantised)


DAMAGE = {
    "cut off": lambda data: data[:-20],
    "of another kind": lambda data: b"XXXX" + data[4:],
    "overwritten": lambda data: data[:9] + b"\0" * 40,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / "w.plmc"
    write_compact({"w": sparse((50, 50), 0.5)}, path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match="w.plmc"):
        read_compact(path)
