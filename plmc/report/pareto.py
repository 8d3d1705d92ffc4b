"""Quality against cost as a picture: latency and size, with the Pareto front, by what was done to each model."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmc.errors import PlmcError
from plmc.report.style import COLOURS, new_figure, save
from plmc.report.variants import COMBINED, DENSE, DISTILLED, PRUNED, QUANTIZED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

    from plmc.report.rows import Row

LOOKS = {
    DENSE: ("o", COLOURS[0]),
    DISTILLED: ("D", COLOURS[2]),
    PRUNED: ("v", COLOURS[4]),
    QUANTIZED: ("s", COLOURS[3]),
    COMBINED: ("^", COLOURS[1]),
}
"""Marker and colour of each kind of model."""
TEACHER = ("*", "0.15")
BENCH_CASES = ("b1 real", "b32 real")
"""Cases of `plmc bench` that get a panel where two rows or more have them."""

Cost = Callable[["Row"], "tuple[float, float] | None"]


@dataclass(frozen=True)
class Panel:
    """One cost: its axis label, and the mean and spread of a row's, None where it is not known.

    Attributes:
        small: the same of the row's compact file, where the cost has such a second value.
    """

    label: str
    cost: Cost
    small: Callable[[Row], float | None] = lambda row: None


def plot_pareto(rows: Sequence[Row], path: Path, *, metric: str, title: str = "") -> None:
    """`figure_of` as a PNG."""
    save(figure_of(rows, metric=metric, title=title), path)


def figure_of(rows: Sequence[Row], *, metric: str, title: str = "", columns: int = 3) -> Figure:
    """The rows of one table: `metric` (points of 100) over latency and over size (MB), both logarithmic.

    Latencies are those of `plmc bench` where two rows have them, else those taken when the runs ended, as shares of the
    teacher's of the same minute. Error bars are standard
    deviations over seeds. The front joins the rows that no other row beats in both directions. A hollow marker is the
    same model's compact size; a thin line leads from a run to its exports. Raises PlmcError if no row has both a metric
    and a cost.
    """
    known = [row for row in rows if metric in row.metrics]
    panels = [panel for panel in _panels(known) if any(panel.cost(row) for row in known)]
    if not panels:
        raise PlmcError(f"No run has {metric} together with a latency or a size, so there is nothing to plot.")
    across = min(columns, len(panels))
    down = -(-len(panels) // across)
    figure, axes = new_figure(down, across, width=5.9 * across + 0.6, height=5.6 * down + 0.4, sharey=True)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    notes = []
    for axis, panel in zip(axes.flat, panels, strict=False):
        notes.append(_panel(axis, [row for row in known if panel.cost(row)], panel, metric))
        axis.set_xlabel(panel.label)
        if missing := [row.label for row in known if not panel.cost(row)]:
            _say_missing(axis, missing)
    for axis in axes[:, 0]:
        axis.set_ylabel(f"{metric} [%]")
    _legend(figure, known)
    if title:
        figure.suptitle(title)
    figure.canvas.draw()
    from plmc.report.placing import place_labels

    for axis, labels in zip(axes.flat, notes, strict=False):
        place_labels(axis, labels, [line for line in axis.lines if line.get_gid() in ("front", "bar")])
    return figure


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points (cost, quality) that none beats: cheaper and no worse, or better and no dearer."""
    best = -math.inf
    kept: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if points[i][1] > best:
            best, kept = points[i][1], [*kept, i]
    return kept


def _panels(rows: Sequence[Row]) -> list[Panel]:
    cases = [case for case in BENCH_CASES if sum(case in row.bench_ms for row in rows) > 1]
    panels = []
    for case in cases:
        label = f"latency of a batch of {case.split()[0].removeprefix('b')}, real lengths, median [ms]"
        panels.append(Panel(label, _bench(case)))
    if not panels:
        panels = [Panel("latency of one row as a share of the teacher's", _share)]
    size = Panel("size of the weights [MB]", _size, _compact)
    return [*panels, size]


def _bench(case: str) -> Cost:
    return lambda row: row.bench_ms.get(case)


def _share(row: Row) -> tuple[float, float] | None:
    if "speedup" not in row.figures:
        return None
    mean, deviation = row.figures["speedup"]
    return 1 / mean, deviation / mean**2


def _size(row: Row) -> tuple[float, float] | None:
    size = row.mean("size_bytes")
    return (size / 1e6, math.nan) if size else None


def _compact(row: Row) -> float | None:
    # Dense weights hardly shrink: a second marker on top of the first would say nothing.
    compact, size = row.mean("compact_bytes"), row.mean("size_bytes")
    return compact / 1e6 if compact and size and compact < 0.9 * size else None


def _panel(axis: Axes, rows: Sequence[Row], panel: Panel, metric: str) -> list[Annotation]:
    cost = panel.cost
    points = [(cost(row)[0], 100 * row.metrics[metric][0]) for row in rows]
    corner = [points[i] for i in front(points)]
    # The front is a staircase: between two arms, one still gets only what the cheaper one gives.
    line: dict[str, Any] = {"color": "0.55", "linewidth": 1.4, "linestyle": "--", "zorder": 1}
    axis.step(*zip(*corner, strict=True), where="post", gid="front", **line)
    places = {row.label: point for row, point in zip(rows, points, strict=True)}
    notes = []
    for row, (x, y) in zip(rows, points, strict=True):
        errors = [0.0 if math.isnan(e) else e for e in (cost(row)[1], 100 * row.metrics[metric][1])]
        shape, colour = TEACHER if row.is_teacher else LOOKS[row.kind]
        look: dict[str, Any] = {"fmt": shape, "color": colour, "markersize": 14 if row.is_teacher else 8, "zorder": 3}
        look |= {"markeredgecolor": "black" if row.is_baseline else "white", "markeredgewidth": 0.9}
        axis.errorbar(x, y, xerr=errors[0] or None, yerr=errors[1] or None, capsize=3, elinewidth=1.1, **look)
        for half, across in ((errors[0], (1, 0)), (errors[1], (0, 1))):
            if half:  # not seen: a label must not lie on it
                ends = [[at - half * on, at + half * on] for at, on in zip((x, y), across, strict=True)]
                axis.plot(*ends, alpha=0, gid="bar")
        if row.export_of in places:
            axis.plot(
                *zip(places[row.export_of], (x, y), strict=True), color=colour, linewidth=0.7, alpha=0.4, zorder=1
            )
        if small := panel.small(row):
            axis.plot([small, x], [y, y], color=colour, linewidth=0.9, linestyle=":", zorder=1)
            axis.plot(small, y, shape, markerfacecolor="white", markeredgecolor=colour, markersize=7, zorder=3)
        text = "\n".join(textwrap.wrap(row.label, 26)[:3])
        note = axis.annotate(
            text,
            (x, y),
            textcoords="offset points",
            xytext=(9, 3),
            fontsize=8,
            color=_darker(colour),
            zorder=4,
            linespacing=1.05,
        )
        # Labels are placed after the layout; they must not move it again.
        note.set_in_layout(False)
        notes.append(note)
    axis.set_xscale("log")
    _plain_ticks(axis)
    axis.margins(x=0.16, y=0.12)
    return notes


def _say_missing(axis: Axes, names: Sequence[str]) -> None:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    text = f"without this figure: {', '.join(names[:3])}{more}"
    place: dict[str, Any] = {"xycoords": "axes fraction", "ha": "right", "va": "bottom"}
    axis.annotate("\n".join(textwrap.wrap(text, 60)), (0.99, 0.01), fontsize=7.5, color="0.4", **place)


def _legend(figure: Figure, rows: Sequence[Row]) -> None:
    from matplotlib.lines import Line2D

    shown = [kind for kind in LOOKS if any(row.kind == kind and not row.is_teacher for row in rows)]
    looks = [("teacher", *TEACHER)] * any(row.is_teacher for row in rows) + [(kind, *LOOKS[kind]) for kind in shown]
    handles = [
        Line2D([], [], marker=shape, color=colour, linestyle="", markersize=8, label=name)
        for name, shape, colour in looks
    ]
    if any(_compact(row) for row in rows):
        handles.append(
            Line2D([], [], marker="o", markerfacecolor="white", color="0.4", linestyle="", label="compact file")
        )
    handles.append(Line2D([], [], color="0.55", linestyle="--", label="Pareto front"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=9, frameon=False)


def _darker(colour: str) -> tuple[float, ...]:
    # Small letters need more contrast than a marker does.
    from matplotlib.colors import to_rgb

    return tuple(0.62 * part for part in to_rgb(colour))


def _plain_ticks(axis: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_xlim()
    subs: tuple[float, ...] = (1, 2, 5) if high / low < 300 else (1,)
    if high / low < 6:
        subs = (1, 1.5, 2, 3, 4, 5, 6, 8)
    axis.xaxis.set_major_locator(LogLocator(subs=subs))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
