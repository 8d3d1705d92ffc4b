"""Labels next to their points, where they cover the least of what is already drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

# Directions in which a label may sit, nearest and most usual first; in points from its marker.
DIRECTIONS = ((1, 0.3), (-1, 0.3), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
OFFSETS = [(r * dx, r * dy) for r in (9, 18, 30, 44, 60, 80) for dx, dy in DIRECTIONS]
PASSES = 3
"""Later passes move the labels that were placed before their neighbours were."""


def place_labels(axis: Axes, notes: Sequence[Annotation], obstacles: Sequence[Line2D]) -> None:
    """Moves each label to the offset where it covers the least of markers, other labels, `obstacles` and the legend.

    The layout of the figure must be final. A label far from its marker gets a thin line to it.
    """
    from matplotlib.transforms import Bbox

    canvas: Any = axis.figure.canvas
    renderer, frame = canvas.get_renderer(), axis.get_window_extent()
    scale = axis.figure.dpi / 72
    half = 7 * scale
    centres = [axis.transData.transform(note.xy) for note in notes]
    taken = [Bbox.from_bounds(x - half, y - half, 2 * half, 2 * half) for x, y in centres]
    taken += [box for line in obstacles for box in _boxes(axis, line)]
    if axis.get_legend():
        taken.append(axis.get_legend().get_window_extent(renderer))

    def move(note: Annotation, rank: int) -> Bbox:
        dx, dy = OFFSETS[rank]
        note.set_position((dx, dy))
        note.set_horizontalalignment("left" if dx > 0 else "right" if dx < 0 else "center")
        note.set_verticalalignment("center" if abs(dy) < abs(dx) else "bottom" if dy > 0 else "top")
        return note.get_window_extent(renderer)

    # Asking the renderer is what costs; a label's boxes around its point never change.
    spots = [[move(note, rank) for rank in range(len(OFFSETS))] for note in notes]
    chosen: list[int | None] = [None] * len(notes)
    for _ in range(PASSES):
        for i in range(len(notes)):
            others = [spots[j][rank] for j, rank in enumerate(chosen) if rank is not None and j != i]
            costs = [_cost(box, frame, [*taken, *others]) + 2 * rank for rank, box in enumerate(spots[i])]
            chosen[i] = costs.index(min(costs))
    for note, rank in zip(notes, chosen, strict=True):
        move(note, rank)
        if rank >= len(DIRECTIONS):
            line = {"arrowstyle": "-", "color": "0.6", "linewidth": 0.7, "shrinkA": 0, "shrinkB": 3}
            axis.annotate("", note.xy, xytext=OFFSETS[rank], textcoords="offset points", arrowprops=line, zorder=2)


def _cost(box: Bbox, frame: Bbox, taken: Sequence[Bbox]) -> float:
    width, height = min(box.x1, frame.x1) - max(box.x0, frame.x0), min(box.y1, frame.y1) - max(box.y0, frame.y0)
    inside = width * height if width > 0 and height > 0 else 0.0
    return 4 * (box.width * box.height - inside) + sum(overlap(box, other) for other in taken)


def overlap(first: Bbox, second: Bbox) -> float:
    """Area that two boxes share."""
    width = min(first.x1, second.x1) - max(first.x0, second.x0)
    height = min(first.y1, second.y1) - max(first.y0, second.y0)
    return width * height if width > 0 and height > 0 else 0.0


def _boxes(axis: Axes, line: Line2D) -> list[Bbox]:
    """Narrow boxes around the steps of a staircase, in pixels."""
    from matplotlib.transforms import Bbox

    points = axis.transData.transform(line.get_xydata())
    corners = [(points[i], (points[i + 1][0], points[i][1]), points[i + 1]) for i in range(len(points) - 1)]
    ends = [pair for start, corner, end in corners for pair in ((start, corner), (corner, end))]
    return [
        Bbox.from_extents(min(a[0], b[0]) - 3, min(a[1], b[1]) - 3, max(a[0], b[0]) + 3, max(a[1], b[1]) + 3)
        for a, b in ends
    ]
