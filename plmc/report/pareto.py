"""Quality against cost as a picture: two panels, latency and size, with the Pareto front."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from plmc.errors import PlmcError
from plmc.report.style import COLOURS, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

    from plmc.report.compare import Row

MARKERS = ("o", "D", "^", "v", "P")

# Directions in which a label may sit, nearest and most usual first; in points from its marker.
OFFSETS = [
    (r * dx, r * dy)
    for r in (9, 20, 34, 50)
    for dx, dy in ((1, 0.3), (-1, 0.3), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
]


def plot_pareto(rows: Sequence[Row], path: Path, *, metric: str, title: str = "") -> None:
    """Draws the rows of one table: `metric` (points of 100) over latency (ms) and over size (MB), both logarithmic.

    Error bars are standard deviations over seeds. The front joins the rows that no other row beats in both directions.
    Raises PlmcError if no row has both a metric and a cost.
    """
    panels: list[tuple[str, Callable[[Row], tuple[float, float] | None]]] = [
        ("latency of one row [ms]", lambda row: row.latency_ms),
        ("size of the weights [MB]", lambda row: (row.size_bytes / 1e6, math.nan) if row.size_bytes else None),
    ]
    drawn = [(label, cost) for label, cost in panels if any(cost(row) and metric in row.metrics for row in rows)]
    if not drawn:
        raise PlmcError(f"No run has {metric} together with a latency or a size, so there is nothing to plot.")
    figure, axes = new_figure(1, len(drawn), width=5.6 * len(drawn) + 0.8, height=5.2, sharey=True)
    for axis, (label, cost) in zip(axes.flat, drawn, strict=True):
        _panel(axis, [row for row in rows if cost(row) and metric in row.metrics], cost, metric)
        axis.set_xlabel(label)
    axes.flat[0].set_ylabel(f"{metric} [%]")
    if title:
        figure.suptitle(title)
    figure.canvas.draw()
    for axis in axes.flat:
        _place_labels(axis)
    save(figure, path)


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points (cost, quality) that none beats: cheaper and no worse, or better and no dearer."""
    best, kept = -math.inf, []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if points[i][1] > best:
            best, kept = points[i][1], [*kept, i]
    return kept


def _panel(axis: Axes, rows: Sequence[Row], cost: Callable[[Row], tuple[float, float]], metric: str) -> None:
    points = [(cost(row)[0], 100 * row.metrics[metric][0]) for row in rows]
    corner = [points[i] for i in front(points)]
    # The front is a staircase: between two arms, one still gets only what the cheaper one gives.
    line = {"color": "0.6", "linewidth": 1.4, "linestyle": "--", "zorder": 1}
    axis.step(*zip(*corner, strict=True), where="post", label="Pareto front", gid="front", **line)
    colours = {row.label: i for i, row in enumerate(row for row in rows if not row.is_teacher)}
    for row, (x, y) in zip(rows, points, strict=True):
        errors = [0.0 if math.isnan(e) else e for e in (cost(row)[1], 100 * row.metrics[metric][1])]
        index = colours.get(row.label, 0)
        shape = "*" if row.is_teacher else "s" if row.is_baseline else MARKERS[index // len(COLOURS) % len(MARKERS)]
        colour = "0.15" if row.is_teacher else COLOURS[index % len(COLOURS)]
        look = {"fmt": shape, "color": colour, "markersize": 14 if row.is_teacher else 8, "zorder": 3}
        look |= {"markeredgecolor": "white", "markeredgewidth": 0.8, "capsize": 3, "elinewidth": 1.2}
        axis.errorbar(x, y, xerr=errors[0] or None, yerr=errors[1] or None, **look)
        text = "\n".join(textwrap.wrap(row.label, 24)[:3])
        note = axis.annotate(
            text, (x, y), textcoords="offset points", xytext=OFFSETS[0], fontsize=8.5, color=_darker(colour), zorder=4
        )
        note.set_gid("arm")
        # Labels are placed after the layout; they must not move it again.
        note.set_in_layout(False)
    axis.set_xscale("log")
    _plain_ticks(axis)
    axis.margins(x=0.18, y=0.14)
    axis.legend(loc="lower right", fontsize=8.5, frameon=False)


def _darker(colour: str) -> tuple[float, ...]:
    # Small letters need more contrast than a marker does.
    from matplotlib.colors import to_rgb

    return tuple(0.65 * part for part in to_rgb(colour))


def _plain_ticks(axis: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_xlim()
    subs = (1, 2, 5) if high / low < 300 else (1,)
    if high / low < 6:
        subs = (1, 1.5, 2, 3, 4, 5, 6, 8)
    axis.xaxis.set_major_locator(LogLocator(subs=subs))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())


def _place_labels(axis: Axes) -> None:
    """Moves each label, one after the other, to the offset where it covers the least of what is already there."""
    from matplotlib.transforms import Bbox

    notes = [note for note in axis.texts if note.get_gid() == "arm"]
    renderer, frame = axis.figure.canvas.get_renderer(), axis.get_window_extent()
    centres = [axis.transData.transform(note.xy) for note in notes]
    taken = [Bbox.from_bounds(x - 9, y - 9, 18, 18) for x, y in centres]
    taken += [box for line in axis.lines if line.get_gid() == "front" for box in _stairs(axis, line)]
    taken += [axis.get_legend().get_window_extent(renderer)]

    def cost(box: Bbox) -> float:
        inside = Bbox.intersection(box, frame)
        outside = box.width * box.height - (inside.width * inside.height if inside else 0)
        return 4 * outside + sum(_overlap(box, other) for other in taken)

    def move(note: Annotation, rank: int) -> Bbox:
        dx, dy = OFFSETS[rank]
        note.set_position((dx, dy))
        note.set_horizontalalignment("left" if dx > 0 else "right" if dx < 0 else "center")
        note.set_verticalalignment("center" if abs(dy) < abs(dx) else "bottom" if dy > 0 else "top")
        return note.get_window_extent(renderer)

    for note in notes:
        rank = min(range(len(OFFSETS)), key=lambda rank, note=note: (cost(move(note, rank)), rank))
        taken.append(move(note, rank))
        if rank >= 8:
            # Far from its marker a label needs a line to it.
            line = {"arrowstyle": "-", "color": "0.7", "linewidth": 0.8}
            axis.annotate("", note.xy, xytext=OFFSETS[rank], textcoords="offset points", arrowprops=line, zorder=2)


def _stairs(axis: Axes, line: Line2D) -> list[Bbox]:
    """Narrow boxes around the steps of the front, in pixels."""
    from matplotlib.transforms import Bbox

    points = axis.transData.transform(line.get_xydata())
    corners = [(points[i], (points[i + 1][0], points[i][1]), points[i + 1]) for i in range(len(points) - 1)]
    ends = [pair for start, corner, end in corners for pair in ((start, corner), (corner, end))]
    return [
        Bbox.from_extents(min(a[0], b[0]) - 3, min(a[1], b[1]) - 3, max(a[0], b[0]) + 3, max(a[1], b[1]) + 3)
        for a, b in ends
    ]


def _overlap(first, second) -> float:
    width = min(first.x1, second.x1) - max(first.x0, second.x0)
    height = min(first.y1, second.y1) - max(first.y0, second.y0)
    return width * height if width > 0 and height > 0 else 0.0
