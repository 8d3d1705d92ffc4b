"""The figures of exports as a table for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plmc.report.tables import Figures


def table(exports: Mapping[str, Mapping[str, Any]]) -> Figures:
    """One column per export by name, with the torch model they were made from before them."""
    first = next(iter(exports.values()))
    checked, speed = first["verification"], first["latency"]
    bf16 = f"bf16 {speed['torch_fp32_ms'] / speed['torch_bf16_ms']:.2f}x"
    lines = {
        checked["metric"]: (f"{checked['before']:.4f}", lambda f: f"{f['verification']['after']:.4f}"),
        "change, points [95 %]": ("", _change),
        "max / mean error": (
            "",
            lambda f: f"{f['verification']['max_error']:.2g} / {f['verification']['mean_error']:.2g}",
        ),
        "same answer": ("", lambda f: f"{f['verification']['argmax_agreement']:.1%}"),
        "cosine": ("", lambda f: f"{f['verification']['cosine']:.5f}"),
        "MB": (_mb(first["dense_fp32_bytes"]), lambda f: _mb(f["size_bytes"])),
        "MB compact": ("", lambda f: f"{_mb(f['compact_bytes'])} ({f['compression_ratio']:.1f}x)"),
        "encoder compact": ("", lambda f: _times(f["encoder_compression_ratio"])),
        "ms, batch 1": (f"{speed['torch_fp32_ms']:.2f}", lambda f: f"{f['latency']['export_ms']:.2f}"),
        "speed-up": (bf16, lambda f: f"{f['latency']['speedup']:.2f}x"),
    }
    rows = [[line, torch, *(value(facts) for facts in exports.values())] for line, (torch, value) in lines.items()]
    return Figures(["", "torch fp32", *exports], rows, f"{first['task']}, {checked['rows']} rows")


def _change(facts: Mapping[str, Any]) -> str:
    checked = facts["verification"]
    low, high = checked["interval"]
    return f"{checked['change']:+.2f} [{low:+.2f}, {high:+.2f}]"


def _mb(size: float) -> str:
    return f"{size / 1e6:.2f}"


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.1f}x"
