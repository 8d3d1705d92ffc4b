"""What became of a run after training: its exports, and the speed of all forms of it that `plmc bench` has measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plmc import digests
from plmc.errors import DamagedFile
from plmc.results import measurements
from plmc.results.find import Arm, Run, Spread, spread
from plmc.results.folders import TEACHERS, finished
from plmc.results.record import of_folder

PLAIN = ("none", None)
FLOAT = (*PLAIN, "bf16")
"""Schemes of exports that leave the weights floating-point."""
DISTILLED, PRUNED, QUANTIZED, COMBINED, DENSE = "distilled", "pruned", "int8", "combined", "fp32"
KINDS = (DENSE, DISTILLED, PRUNED, QUANTIZED, COMBINED)
"""What was done to a model, as the Pareto picture tells them apart."""

_FAMILIES = {"distillation": DISTILLED, "pruning": PRUNED, "quantization": QUANTIZED}
# Runs of earlier versions do not name the families of their methods, but their configs name these packages.
_PACKAGES = {
    ".methods.distill.": DISTILLED,
    ".methods.mlm.": DISTILLED,
    ".methods.prune.": PRUNED,
    ".methods.layers.": PRUNED,
    ".methods.quant.": QUANTIZED,
}


@dataclass(frozen=True)
class Export:
    """One export of one run: `key` is its folder's name, `facts` the content of plmc_export.json."""

    run: Run
    key: str
    facts: Mapping[str, Any]

    @property
    def label(self) -> str:
        """`onnx int8`."""
        scheme = self.facts.get("quantize")
        return " ".join([str(self.facts.get("format", "export")), *([] if scheme in PLAIN else [str(scheme)])])

    @property
    def metrics(self) -> Mapping[str, float]:
        """What the export's own check measured; empty for one that was not checked."""
        return (self.facts.get("verification") or {}).get("metrics_after") or {}

    @property
    def score(self) -> float | None:
        """The run's primary metric among `metrics`."""
        return self.metrics.get(self.run.primary)

    @property
    def speedup(self) -> float | None:
        """Latency of the teacher over the export's: times over the run's own model times that model's over the
        teacher."""
        own, taught = self.run.record.latency.batch_1_ms, self.run.record.latency.teacher_batch_1_ms
        times = (self.facts.get("latency") or {}).get("speedup")
        return times * taught / own if times and taught and own else None


def exports(run: Run) -> list[Export]:
    """The finished exports in RUN/export, by name. Raises DataError for a damaged description."""
    found = []
    for path in sorted(run.folder.glob("export/*/plmc_export.json")):
        try:
            facts = digests.read(path)
        except (OSError, DamagedFile) as error:
            raise DamagedFile(f"{error} Export again: plmc export {run.folder}") from error
        found.append(Export(run, path.parent.name, facts))
    return found


def of_arm(arm: Arm) -> dict[str, list[Export]]:
    """The exports of all runs of an arm, by the name that they share."""
    grouped: dict[str, list[Export]] = {}
    for run in arm.runs:
        for export in exports(run):
            grouped.setdefault(export.key, []).append(export)
    return grouped


def speeds(runs: Sequence[Run], key: str) -> dict[str, Spread]:
    """Median milliseconds of a batch by case (`b1 real`), mean over the runs that were benched; `key` as in bench.json.

    GPU figures and those of several threads are cases of their own: `b32 128, 2 threads`, `b32 128, cuda`.
    """
    return _speeds([run.folder for run in runs], key)


def _speeds(folders: Sequence[Path], key: str) -> dict[str, Spread]:
    found: dict[str, list[float]] = {}
    for folder in folders:
        for record in measurements.read(folder):
            if record["key"] == key:
                found.setdefault(case_name(record), []).append(record["p50_ms"])
    return {case: spread(values) for case, values in found.items()}


def teacher_speeds(runs: Sequence[Run]) -> dict[str, Spread]:
    """`speeds` of the runs' teachers: the runs in the folder `teachers` next to them with the same metrics that they
    report."""
    folders: set[Path] = set()
    for run in runs:
        for folder in finished(run.folder.parent / TEACHERS):
            try:
                record = of_folder(folder)
            except (OSError, DamagedFile) as error:
                raise DamagedFile(f"{error} The next run that needs this teacher makes it again.") from error
            if record.task == run.record.task and record.metrics == run.record.teacher.metrics:
                folders.add(folder)
    return _speeds(sorted(folders), "torch_fp32")


def case_name(record: Mapping[str, Any]) -> str:
    """`b1 real`, with threads if more than one and with the device if not the CPU."""
    name = f"b{record['batch']} {record['length']}"
    if record["device"] != "cpu":
        return f"{name}, {record['device']}"
    return name if record["threads"] == 1 else f"{name}, {record['threads']} threads"


def kind(run: Run, quantized: bool = False) -> str:
    """Which of KINDS a run is, by the families of its methods;

    Args:
        quantized: this export of it is.
    """
    if run.record.families is not None:
        found = {_FAMILIES[name] for name in run.record.families}
    else:
        found = {name for target in _targets(run.config) for part, name in _PACKAGES.items() if part in target}
    if quantized:
        found.add(QUANTIZED)
    if (run.record.student.sparsity or 0) > 0.01:
        found.add(PRUNED)
    return COMBINED if len(found) > 1 else found.pop() if found else DENSE


def _targets(node: Any) -> list[str]:
    """All `_target_` of a config but the plain task loss, which every recipe has."""
    if not isinstance(node, Mapping):
        return [target for item in node for target in _targets(item)] if isinstance(node, list) else []
    own = [str(node["_target_"])] if "_target_" in node and not str(node["_target_"]).endswith("TaskLoss") else []
    return own + [target for value in node.values() for target in _targets(value)]
