"""Files for the GLUE leaderboard (gluebenchmark.com): one table a test set, and a zip of them all."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plmc.errors import DataError

FILES = {
    "cola": ("CoLA.tsv", 1063),
    "sst2": ("SST-2.tsv", 1821),
    "mrpc": ("MRPC.tsv", 1725),
    "stsb": ("STS-B.tsv", 1379),
    "qqp": ("QQP.tsv", 390965),
    "mnli": ("MNLI-m.tsv", 9796),
    "mnli_mismatched": ("MNLI-mm.tsv", 9847),
    "qnli": ("QNLI.tsv", 5463),
    "rte": ("RTE.tsv", 3000),
    "wnli": ("WNLI.tsv", 146),
    "ax": ("AX.tsv", 1104),
}
"""File name and number of test rows of each test set."""
_NAMES = {"mnli", "mnli_mismatched", "qnli", "rte", "ax"}


@dataclass(frozen=True)
class Submission:
    """What was written: the tables, the zip, and the file names the leaderboard still wants."""

    tables: tuple[Path, ...]
    archive: Path
    missing: tuple[str, ...]

    def __str__(self) -> str:
        if not self.missing:
            return f"{self.archive}: complete, ready to upload."
        return f"{self.archive}: the leaderboard wants all {len(FILES)} files; missing: {', '.join(self.missing)}."


def write_submission(predictions: Mapping[str, Sequence[Mapping[str, Any]]], folder: Path) -> Submission:
    """Writes the tables of `predictions` (the keys of `FILES` to the records of the test rows) and `submission.zip`.

    QNLI, RTE, MNLI and AX name the class, the others give its number; STS-B is clipped to 0 to 5, 3 decimals.

    Raises DataError for an unknown test set or a wrong number of rows.
    """
    for name, records in predictions.items():
        if name not in FILES:
            raise DataError(f"{name!r} is not a test set of GLUE. Choose from {', '.join(FILES)}.")
        rows = FILES[name][1]
        if len(records) != rows:
            raise DataError(
                f"{name}: {len(records)} predictions, but its test set has {rows} rows. Predict the test split."
            )
    folder.mkdir(parents=True, exist_ok=True)
    tables = []
    for name, (file, _) in FILES.items():
        if name in predictions:
            lines = [f"{index}\t{_cell(name, record)}" for index, record in enumerate(predictions[name])]
            path = folder / file
            path.write_text("\n".join(["index\tprediction", *lines]) + "\n", encoding="utf-8", newline="\n")
            tables.append(path)
    archive = folder / "submission.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in tables:
            packed.write(path, path.name)
    return Submission(
        tuple(tables), archive, tuple(file for name, (file, _) in FILES.items() if name not in predictions)
    )


def _cell(name: str, record: Mapping[str, Any]) -> str:
    if name == "stsb":
        return f"{min(max(record['prediction'], 0.0), 5.0):.3f}"
    return record["prediction"] if name in _NAMES else str(record["prediction_id"])
