"""SQuAD's JSON files, versions 1.1 and 2.0."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plmc.data.find import check_splits, named_file, nothing_found
from plmc.data.tables import read_text
from plmc.errors import DataError

if TYPE_CHECKING:
    import datasets

COLUMNS = ("id", "key", "title", "text_a", "text_b", "answers")
_STEMS = {"train": "train", "validation": "dev", "test": "test"}


def questions(columns: Mapping[str, Any]) -> datasets.Dataset:
    """The rows of `COLUMNS`: `id` whole numbers, `answers` with the lists `text` and `answer_start`, the rest
    strings."""
    from datasets import Dataset, Features, Sequence, Value

    types = {name: Value("string") for name in COLUMNS}
    answers = {"text": Sequence(Value("string")), "answer_start": Sequence(Value("int32"))}
    return Dataset.from_dict(dict(columns), features=Features(types | {"id": Value("int64"), "answers": answers}))


def squad_files(root: Path, version: str, files: Mapping[str, str]) -> dict[str, Path]:
    """The file of each split in `root`, `root/squad` or their folders `v1.1` and `v2.0`; DataError if there is none."""
    check_splits(files, tuple(_STEMS), f"SQuAD {version}")
    found = {}
    for split, stem in _STEMS.items():
        if split in files:
            found[split] = named_file(files[split], (root, root / "squad", root / "squad" / f"v{version}"))
        elif path := _find(root, stem, version):
            found[split] = path
    if not found:
        looked_for = [f"{stem}-v{version}.json" for stem in _STEMS.values()] + [f"v{version}/train.json"]
        raise nothing_found(root / "squad" if (root / "squad").is_dir() else root, looked_for)
    return found


def load_squad(root: Path, version: str, files: Mapping[str, str]) -> dict[str, datasets.Dataset]:
    """The splits of SQuAD found below `root`; `version` is `1.1` or `2.0`, `files` names some of them.

    Raises DataError with file and question if something is missing or malformed.
    """
    return {split: read_squad(path, version) for split, path in squad_files(root, version, files).items()}


def _find(root: Path, stem: str, version: str) -> Path | None:
    names = [f"{stem}-v{version}.json", f"v{version}/{stem}.json", f"v{version}/{stem}-v{version}.json"]
    if root.name == f"v{version}":
        names.append(f"{stem}.json")
    for base in (root, root / "squad"):
        for name in names:
            for ending in ("", ".gz"):
                if (base / (name + ending)).is_file():
                    return base / (name + ending)
    return None


def read_squad(path: Path, version: str) -> datasets.Dataset:
    """All questions of a file, in file order. Raises DataError if it is malformed or of the other version."""
    try:
        document = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}, line {error.lineno}: not valid JSON ({error.msg} at column {error.colno})."
        ) from error
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS if name != "id"}
    seen: set[str] = set()
    for where, title, context, qa in _questions(document, path):
        key, question = _get(qa, "id", str, where), _get(qa, "question", str, where)
        where = f"{path}, question {key}"
        if key in seen:
            raise DataError(f"{where}: this id occurs twice. Ids must be unique.")
        seen.add(key)
        # The training file of v2.0 keeps no answers for impossible questions, some dev files leave the flag out.
        given = _get(qa, "answers", list, where)
        if not given and version == "1.1":
            raise DataError(
                f"{where}: no answer, which version 1.1 does not allow. This looks like version 2.0: task=squad_v2."
            )
        answers = [(_get(one, "text", str, where), _get(one, "answer_start", int, where)) for one in given]
        for text, start in answers:
            if context[start : start + len(text)] != text:
                raise DataError(f"{where}: the answer {text!r} is not at character {start} of its context.")
        values = (
            key,
            title,
            question,
            context,
            {"text": [a for a, _ in answers], "answer_start": [s for _, s in answers]},
        )
        for name, value in zip(columns, values, strict=True):
            columns[name].append(value)
    if not seen:
        raise DataError(f"{path} holds no questions.")
    return questions({"id": np.arange(len(seen)), **columns})


def _questions(document: Any, path: Path):
    """`(where, title, context, question)` for all questions of a file."""
    for a, article in enumerate(_get(document, "data", list, f"{path}")):
        where = f"{path}, article {a}"
        title = article.get("title", "") if isinstance(article, dict) else ""
        for p, paragraph in enumerate(_get(article, "paragraphs", list, where)):
            inside = f"{where}, paragraph {p}"
            context = _get(paragraph, "context", str, inside)
            for qa in _get(paragraph, "qas", list, inside):
                yield inside, title, context, qa


def _get(record: Any, key: str, kind: type, where: str) -> Any:
    if not isinstance(record, dict) or not isinstance(record.get(key), kind):
        found = ", ".join(map(repr, record)) if isinstance(record, dict) else type(record).__name__
        raise DataError(
            f"{where}: no {key!r} of type {kind.__name__}; found {found}. Expected the layout of SQuAD's JSON files."
        )
    return record[key]
