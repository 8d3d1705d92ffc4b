"""Pictures of one run: its training curves, and where its predictions go wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plmc.errors import DataError, PlmcError
from plmc.report.style import COLOURS, LINES, new_figure, save
from plmc.results.record import StageResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curve = tuple[np.ndarray, np.ndarray]
"""Updates and values, in ascending order of updates."""

VALIDATION = "eval/loss"
"""The curve of the loss on the gold labels of the evaluation rows; it belongs beside the training loss."""
SMOOTH_FROM = 60
"""A loss curve with more points than this is drawn as a running mean over its faint raw points."""


def history(path: Path) -> dict[str, Curve]:
    """The curves in an events file, by name. A resumed run repeats updates: the later record of an update counts.

    A last line that was cut off while it was written is left out. Raises DataError if the file is missing or damaged
    elsewhere.
    """
    if not path.exists():
        raise DataError(f"{path} is missing, so there are no curves to draw.")
    points: dict[str, dict[int, float]] = {}
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            event = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                break
            raise DataError(f"{path}, line {number} is damaged: {error}.") from error
        if event.get("kind") == "metrics":
            for name, value in event["values"].items():
                points.setdefault(name, {})[event["step"]] = value
    return {name: _curve(series) for name, series in points.items()}


def _curve(series: Mapping[int, float]) -> Curve:
    steps = np.array(sorted(series))
    return steps, np.array([series[step] for step in steps.tolist()], dtype=float)


def plot_training(curves: Mapping[str, Curve], path: Path, stages: Sequence[StageResult] = ()) -> None:
    """Loss by term, evaluation metrics and learning rate over one axis of updates, with the bounds of the stages.

    Raises PlmcError without a loss.

    Args:
        curves: see `history`.
        stages: of the run, in order.
    """
    losses = {name: curve for name, curve in curves.items() if name == "loss" or name.startswith("loss/")}
    judged = {name: curve for name, curve in curves.items() if name.startswith("eval/") and name != VALIDATION}
    if not losses:
        raise PlmcError("The run recorded no loss, so there are no curves to draw.")
    ends = np.cumsum([stage.steps for stage in stages])
    panels = ["loss"] + ["metric"] * bool(judged) + ["learning rate"] * ("lr" in curves)
    figure, axes = new_figure(len(panels), 1, width=9, height=2.0 + 2.1 * len(panels), sharex=True)
    drawn = dict(zip(panels, axes.flat, strict=True))
    if len(losses) == 2:
        # The total of a single weighted term would only repeat it.
        losses.pop("loss", None)
    _loss_lines(drawn["loss"], losses, ends)
    if VALIDATION in curves:
        look = {"color": "0.2", "linestyle": ":", "marker": "o", "markersize": 4}
        drawn["loss"].plot(*curves[VALIDATION], label="validation, gold labels", **look)
    for i, (name, (steps, values)) in enumerate(judged.items()):
        look = {"color": COLOURS[i % len(COLOURS)], "linestyle": LINES[i // len(COLOURS) % len(LINES)], "marker": "o"}
        drawn["metric"].plot(steps, values, markersize=4, label=name.removeprefix("eval/"), **look)
    if "lr" in curves:
        drawn["learning rate"].plot(*_broken(curves["lr"], ends), color=COLOURS[0])
        drawn["learning rate"].ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    for name, axis in drawn.items():
        axis.set_ylabel(name)
        for end in ends[:-1]:
            axis.axvline(end, color="0.35", linewidth=1.0, linestyle=":")
        if axis.get_legend_handles_labels()[0]:
            axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=9, frameon=False, borderaxespad=0)
    _stage_names(drawn["loss"], stages, ends)
    axes.flat[-1].set_xlabel("updates")
    save(figure, path)


def _loss_lines(axis: Axes, losses: Mapping[str, Curve], ends: np.ndarray) -> None:
    terms = sorted(losses, key=lambda name: (name != "loss", name))
    for i, name in enumerate(terms):
        total = name == "loss"
        colour = "0.2" if total else COLOURS[(i - ("loss" in losses)) % (len(COLOURS) - 1)]
        look: dict[str, Any] = {
            "color": colour,
            "linewidth": 2.0 if total else 1.5,
            "linestyle": LINES[i // len(COLOURS) % len(LINES)],
        }
        label = "total" if total else name.removeprefix("loss/")
        steps, values = _broken(losses[name], ends)
        if len(steps) > SMOOTH_FROM:
            axis.plot(steps, values, color=colour, linewidth=0.7, alpha=0.25)
            values = _running_mean(values, max(5, len(steps) // 40))
        axis.plot(steps, values, label=label, **look)
    values = np.concatenate([curve[1] for curve in losses.values()])
    # Terms of different methods can lie orders of magnitude apart; on a linear axis the small ones vanish.
    if np.all(values > 0) and values.max() / np.median(values) > 20:
        axis.set_yscale("log")


def _broken(curve: Curve, ends: np.ndarray) -> Curve:
    """The curve with a gap at each stage bound: a term that pauses for a stage must not look as if it went on."""
    steps, values = (part.astype(float) for part in curve)
    cuts = np.searchsorted(steps, ends[:-1] + 0.5) if len(ends) else np.array([], dtype=int)
    cuts = cuts[(cuts > 0) & (cuts < len(steps))]
    return np.insert(steps, cuts, np.nan), np.insert(values, cuts, np.nan)


def _running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Centred mean over `width` neighbours of the same stage; shorter at the ends."""
    means = np.full_like(values, np.nan)
    bounds = np.flatnonzero(np.isnan(values))
    for part in np.split(np.arange(len(values)), bounds):
        part = part[~np.isnan(values[part])]
        if len(part):
            kernel = np.ones(min(width, len(part)))
            weight = np.convolve(np.ones(len(part)), kernel, mode="same")
            means[part] = np.convolve(values[part], kernel, mode="same") / weight
    return means


def _stage_names(axis: Axes, stages: Sequence[StageResult], ends: np.ndarray) -> None:
    if len(stages) < 2:
        return
    starts = np.concatenate([[0], ends[:-1]])
    for stage, start, end in zip(stages, starts, ends, strict=True):
        place: dict[str, Any] = {"xycoords": axis.get_xaxis_transform(), "ha": "center", "va": "bottom"}
        axis.annotate(stage.name, ((start + end) / 2, 1.02), fontsize=9, color="0.35", **place)


def plot_predictions(records: Sequence[Mapping[str, Any]], path: Path, labels: Sequence[str] = ()) -> None:
    """The picture that suits the records: confusion matrix, scatter of scores, or histogram of span F1.

    Raises PlmcError without labelled records.

    Args:
        labels: class names by id.
    """
    if not records or records[0].get("label") is None:
        raise PlmcError("There are no labelled predictions to draw.")
    draw = _confusion if "prediction_id" in records[0] else _span_f1 if "exact_match" in records[0] else _scatter
    draw(records, path, labels)


def _confusion(records: Sequence[Mapping[str, Any]], path: Path, labels: Sequence[str]) -> None:
    true, said = (np.array([record[key] for record in records]) for key in ("label", "prediction_id"))
    size = max(int(max(true.max(), said.max())) + 1, len(labels))
    counts = np.zeros((size, size), dtype=int)
    np.add.at(counts, (true, said), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [labels[i] if i < len(labels) else str(i) for i in range(size)]
    edge = 3.6 + 0.55 * min(size, 14)
    figure, axes = new_figure(1, 1, width=edge + 1.0, height=edge)
    axis = axes[0, 0]
    axis.grid(False)
    image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axis, label="share of the true class", shrink=0.8)
    long = max(map(len, names)) > 8
    axis.set_xticks(range(size), names, rotation=40 if long else 0, ha="right" if long else "center")
    axis.set_yticks(range(size), names)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    axis.set_title(f"{len(records)} rows, {100 * np.mean(true == said):.2f} % correct", fontsize=11)
    if size <= 12:
        for row, column in np.ndindex(size, size):
            text = (
                f"{counts[row, column]}\n{100 * shares[row, column]:.0f} %" if size <= 6 else str(counts[row, column])
            )
            colour = "white" if shares[row, column] > 0.55 else "0.15"
            axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=10 if size <= 6 else 8)
    save(figure, path)


def _scatter(records: Sequence[Mapping[str, Any]], path: Path, labels: Sequence[str]) -> None:
    from scipy.stats import pearsonr, spearmanr

    true, said = (np.array([record[key] for record in records], dtype=float) for key in ("label", "prediction"))
    figure, axes = new_figure(1, 1, width=6, height=5.6)
    axis = axes[0, 0]
    axis.scatter(true, said, s=16, alpha=min(1.0, max(0.12, 150 / len(true))), color=COLOURS[0], edgecolors="none")
    low, high = min(true.min(), said.min()), max(true.max(), said.max())
    axis.plot([low, high], [low, high], color=COLOURS[1], linewidth=1.2, linestyle="--", label="prediction = label")
    axis.set_xlabel("label")
    axis.set_ylabel("prediction")
    title = f"{len(records)} rows, mean absolute error {np.mean(np.abs(true - said)):.3f}"
    if len(true) > 2 and np.ptp(true) > 0 and np.ptp(said) > 0:
        title += f"\nPearson {pearsonr(true, said).statistic:.3f}, Spearman {spearmanr(true, said).statistic:.3f}"
    axis.set_title(title, fontsize=11)
    axis.legend(loc="upper left", frameon=False)
    save(figure, path)


def _span_f1(records: Sequence[Mapping[str, Any]], path: Path, labels: Sequence[str]) -> None:
    scores, exact = (np.array([record[key] for record in records], dtype=float) for key in ("f1", "exact_match"))
    figure, axes = new_figure(1, 1, width=6.8, height=4.4)
    axis, bins = axes[0, 0], np.linspace(0, 1, 21)
    parts = [scores[exact > 0], scores[exact == 0]]
    look = {"color": [COLOURS[0], COLOURS[1]], "label": ["exact match", "no exact match"], "edgecolor": "white"}
    axis.hist(parts, bins=bins, stacked=True, **look)
    axis.axvline(scores.mean(), color="0.2", linestyle="--", linewidth=1.2, label=f"mean F1 {scores.mean():.3f}")
    axis.set_xlabel("F1 of an answer")
    axis.set_ylabel("questions")
    axis.set_title(f"{len(records)} questions, {100 * np.mean(exact > 0):.1f} % exact", fontsize=11)
    axis.legend(loc="best", frameon=False)
    save(figure, path)
