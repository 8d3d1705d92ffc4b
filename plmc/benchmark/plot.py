"""A benchmark as a picture: bars of latency, one panel a case."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plmc.report.speed import cases, interval
from plmc.report.style import COLOURS, new_figure, save

REFERENCE, BF16 = "0.45", COLOURS[5]


def plot(result: Mapping[str, Any], path: Path) -> None:
    """Median latency of a batch in milliseconds, a line up to p95, and how many times as fast as the first
    contender."""
    panels = list(cases(result))
    names = [contender["name"] for contender in result["contenders"]]
    columns = min(len(panels), 2)
    lines = -(-len(panels) // columns)
    height = lines * (1.1 + 0.36 * len(names)) + 0.9
    figure, axes = new_figure(lines, columns, width=6.4 * columns, height=height, sharey=True)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, (title, records) in zip(axes.flat, panels, strict=False):
        medians = [record["p50_ms"] for record in records]
        colours = [REFERENCE if i == 0 else BF16 if "bf16" in name else COLOURS[0] for i, name in enumerate(names)]
        axis.barh(range(len(names)), medians, color=colours, height=0.62)
        ends = [record["p95_ms"] for record in records]
        axis.hlines(range(len(names)), medians, ends, color="0.2", linewidth=1.2)
        for i, record in enumerate(records):
            fast = "" if i == 0 else f"   {interval(record['speedup']).replace(' ', 'x ', 1)}"
            axis.annotate(
                f"{record['p50_ms']:.3g} ms{fast}",
                (ends[i], i),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
            )
        axis.set_yticks(range(len(names)), names, fontsize=9)
        # Shared by all panels, so inverting it in each would undo every second one.
        axis.set_ylim(len(names) - 0.4, -0.6)
        axis.set_xlim(0, max(ends) * 1.6)
        axis.set_title(title.rpartition(", ")[0].replace(", sorted", ",\nsorted"), fontsize=9.5, loc="left")
        axis.grid(axis="y", visible=False)
        axis.set_xlabel("ms a batch: median, line to p95", fontsize=9)
    threads = f"{result['threads']} thread{'s' * (result['threads'] != 1)}"
    figure.suptitle(f"{result['machine']['cpu'] if result['device'] == 'cpu' else 'GPU'}, {threads}", fontsize=10.5)
    save(figure, path)
