"""The GLUE folder of the original release: one folder a task with train.tsv, dev.tsv and test.tsv."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from plmc.data.find import check_splits, named_file, nothing_found, split_file, task_folder
from plmc.data.rows import class_map, normalise
from plmc.data.tables import Table, read_text, read_tsv

if TYPE_CHECKING:
    import datasets

    from plmc.tasks.base import Task

_STEMS = {"train": "train", "validation": "dev", "test": "test"}
_MNLI = {
    "train": "train",
    "validation": "dev_matched",
    "validation_mismatched": "dev_mismatched",
    "test": "test_matched",
    "test_mismatched": "test_mismatched",
}
_CORPUS = {"train": "msr_paraphrase_train.txt", "test": "msr_paraphrase_test.txt"}
_DEV_IDS = "dev_ids.tsv"


@dataclass(frozen=True)
class Layout:
    """Folder of a task, its text columns and label column, the file stem of each split, and what is odd about it.

    Attributes:
        headless: the columns where the first line is a row already.
        skip_broken: the release holds broken rows.
    """

    folder: str
    text: tuple[str, ...]
    label: str = "label"
    stems: Mapping[str, str] | None = None
    headless: tuple[str, ...] | None = None
    skip_broken: bool = False

    @property
    def splits(self) -> Mapping[str, str]:
        return self.stems or _STEMS


_PAIR = ("sentence1", "sentence2")
LAYOUTS = {
    "cola": Layout("CoLA", ("sentence",), headless=("source", "label", "star", "sentence")),
    "sst2": Layout("SST-2", ("sentence",)),
    "mrpc": Layout("MRPC", ("#1 String", "#2 String"), "Quality"),
    "stsb": Layout("STS-B", _PAIR, "score"),
    # A few questions of the release hold a line break, which tears their row apart; the Hub's copy drops them, too.
    "qqp": Layout("QQP", ("question1", "question2"), "is_duplicate", skip_broken=True),
    "mnli": Layout("MNLI", _PAIR, "gold_label", stems=_MNLI),
    "qnli": Layout("QNLI", ("question", "sentence")),
    "rte": Layout("RTE", _PAIR),
    "wnli": Layout("WNLI", _PAIR),
    "ax": Layout("diagnostic", _PAIR, stems={"test": "diagnostic"}),
}


def glue_files(root: Path, task: Task, files: Mapping[str, str]) -> dict[str, Path]:
    """The file of each split of a GLUE task below `root`; `files` names some of them. Raises DataError if there is
    none."""
    layout = LAYOUTS[task.name]
    check_splits(files, tuple(layout.splits), task.name)
    folder = task_folder(root, layout.folder, "glue")
    found = {}
    for split, stem in layout.splits.items():
        if split in files:
            found[split] = named_file(files[split], (folder, root))
            continue
        names = [f"{stem}.tsv"] + ([_CORPUS[split]] if task.name == "mrpc" and split in _CORPUS else [])
        path = split_file(folder, split, names, f"{stem}*.tsv", ignore=(_DEV_IDS, _DEV_IDS + ".gz"))
        if path is not None:
            found[split] = path
    if not found:
        raise nothing_found(folder, [f"{stem}.tsv" for stem in layout.splits.values()])
    return found


def load_glue(root: Path, task: Task, files: Mapping[str, str]) -> dict[str, datasets.Dataset]:
    """The splits of a GLUE task that are found in its folder below `root`; `files` names some of them.

    Raises DataError with file and line if something is missing or malformed.
    """
    layout = LAYOUTS[task.name]
    found = glue_files(root, task, files)
    folder = task_folder(root, layout.folder, "glue")
    tables = {split: _read(path, layout) for split, path in found.items()}
    if task.name == "mrpc":
        tables = _split_corpus(tables, folder)
    return {split: _rows(table, layout, task, split) for split, table in tables.items()}


def _rows(table: Table, layout: Layout, task: Task, split: str) -> datasets.Dataset:
    return normalise(
        table,
        layout.text,
        layout.label,
        classes=class_map(task.labels) if task.labels else None,
        bounds=None if task.labels else (0.0, 5.0),
        hidden=split.startswith("test"),
    )


def _read(path: Path, layout: Layout) -> Table:
    if layout.headless is None:
        return read_tsv(path, skip_broken=layout.skip_broken)
    # The test file of CoLA and some copies of its other files do have a header.
    first = read_text(path).split("\n", 1)[0].split("\t")
    return read_tsv(path, header=None if layout.text[0] in first else layout.headless)


def _split_corpus(tables: dict[str, Table], folder: Path) -> dict[str, Table]:
    """MRPC as its authors ship it has no dev file: GLUE takes the pairs in dev_ids.tsv from the training file."""
    train = tables.get("train")
    if train is None or not train.path.name.startswith(_CORPUS["train"]):
        return tables
    listed = split_file(folder, "validation", [_DEV_IDS], _DEV_IDS)
    if listed is not None:
        lines = read_text(listed).split("\n")
        dev = {tuple(line.rstrip("\r").split("\t")[:2]) for line in lines if line}
    elif "validation" in tables:
        dev = set(_pair_ids(tables["validation"]))
    else:
        return tables
    in_dev = [pair in dev for pair in _pair_ids(train)]
    parts = {"train": _keep(train, [not flag for flag in in_dev])}
    if "validation" not in tables:
        parts["validation"] = _keep(train, in_dev)
    return parts | {split: table for split, table in tables.items() if split != "train"}


def _pair_ids(table: Table) -> list[tuple[str, str]]:
    first, second = (table.column(name, "the id of a sentence") for name in ("#1 ID", "#2 ID"))
    return list(zip(first, second, strict=True))


def _keep(table: Table, flags: list[bool]) -> Table:
    def kept(values):
        return [value for value, flag in zip(values, flags, strict=True) if flag]

    columns = {name: kept(values) for name, values in table.columns.items()}
    return replace(table, columns=columns, lines=kept(table.lines))
