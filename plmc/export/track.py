"""An export's figures in the MLflow run of the training run that it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plmc.console import Console
from plmc.export.runtime import DESCRIPTION


def figures(name: str, facts: Mapping[str, Any]) -> dict[str, float]:
    """What MLflow is to plot of the export `name`, as `export/NAME/…`."""
    checked, speed = facts["verification"], facts["latency"]
    values = {
        **checked["metrics_after"],
        "change_points": checked["change"],
        "max_error": checked["max_error"],
        "cosine": checked["cosine"],
        "argmax_agreement": checked["argmax_agreement"],
        "size_bytes": facts["size_bytes"],
        "compact_bytes": facts["compact_bytes"],
        "compression_ratio": facts["compression_ratio"],
        "batch_1_ms": speed["export_ms"],
        "speedup_over_torch_fp32": speed["speedup"],
    }
    return {f"export/{name}/{key}": float(value) for key, value in values.items()}


def hand_over(tracker: Any, folder: Path, facts: Mapping[str, Any]) -> None:
    """Figures and description to an open tracker; the model itself stays where it is."""
    tracker.log(figures(folder.name, facts), facts["step"])
    tracker.artifact(folder / DESCRIPTION, f"export/{folder.name}")


def log_to_run(run: Path, folder: Path, facts: Mapping[str, Any], console: Console) -> None:
    """The same for a finished run; nothing for one that was not tracked. Repeating it changes nothing."""
    from plmc.track import reopened

    with reopened(run, console.warn) as tracker:
        if tracker:
            hand_over(tracker, folder, facts)
