"""`plmc predict`: answers for texts, files, and the GLUE leaderboard."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from plmc.errors import ConfigError, DataError

# Rows that are read, sorted by length and answered together.
WINDOW = 2048


def predict(
    name: str,
    texts: Sequence[str],
    file: Path | None,
    out: Path | None,
    submission: Path | None,
    outputs: Path,
    allow: Sequence[str] = (),
) -> None:
    """Writes one JSON object per text: label and score, score, or answer."""
    if submission is not None:
        return _submission(name.split(","), submission, outputs, allow)
    if bool(texts) == (file is not None):
        raise ConfigError('give either a text (plmc predict RUN "a moving film") or --file FILE.')
    from plmc.cli.targets import check_file
    from plmc.config.build import build
    from plmc.results.pick import pick
    from plmc.run.answers import answerer

    check_file(out, "--out")
    picked = pick(name, outputs, allow)
    task = build(picked.config["task"], "task") if picked.config else None
    answer = answerer(picked.model, task)
    rows = [tuple(texts)] if texts else list(_read(file))
    if not rows:
        raise DataError(f"{file} holds no text.")
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
    target = out.open("w", encoding="utf-8") if out else sys.stdout
    try:
        for start in range(0, len(rows), WINDOW):
            for found in answer(rows[start : start + WINDOW]):
                target.write(json.dumps(found, ensure_ascii=False) + "\n")
    finally:
        if out:
            target.close()
            print(out)
    return None


def _read(path: Path) -> Iterator[tuple[str, ...]]:
    """Rows of a text file, or of a table as in training (.csv, .tsv, .jsonl, .parquet): one or two texts each."""
    from plmc.data.tables import read_table, read_text

    if not path.is_file():
        raise DataError(f"--file {path}: no such file.")
    endings = {suffix.lower() for suffix in path.suffixes[-2:]}
    if endings & {".csv", ".tsv", ".jsonl", ".json", ".parquet"}:
        table = read_table(path)
        for row in range(len(table)):
            yield _texts({name: values[row] for name, values in table.columns.items()}, table.where(row))
    else:
        yield from ((line.rstrip("\r"),) for line in read_text(path).split("\n") if line.strip())


_PAIRS = (
    ("text_a", "text_b"),
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "context"),
)


def _texts(row: Mapping[str, Any], where: str) -> tuple[str, ...]:
    for first, second in _PAIRS:
        if row.get(first) is not None and row.get(second) is not None:
            return str(row[first]), str(row[second])
    for name in ("text_a", "text", "sentence"):
        if row.get(name) is not None:
            return (str(row[name]),)
    raise DataError(f"{where}: no text found among the columns {list(row)}. Name them text, or text_a and text_b.")


def _submission(names: Sequence[str], folder: Path, outputs: Path, allow: Sequence[str]) -> None:
    from plmc.config.build import build
    from plmc.console import Console
    from plmc.models import load
    from plmc.results.pick import pick
    from plmc.tasks.submission import write_submission
    from plmc.training.evaluate import logits_of

    console, predictions = Console(), {}
    for name in names:
        picked = pick(name, outputs, allow)
        if picked.config is None:
            raise ConfigError(f"{name} is no plmc run, so its task is unknown. Give runs.")
        task = build(picked.config["task"], "task")
        raw = (task.own_source or build(picked.config["data"], "data")).load(task)
        tests = {split: rows for split, rows in raw.items() if split.startswith("test")}
        if not tests:
            raise DataError(f"{name}: the source {picked.config['data']['name']} has no test rows of {task.name}.")
        tokenizer = load.load_tokenizer(str(picked.model))
        model = load.load_finetuned(str(picked.model), task)
        for split, rows in tests.items():
            encoded = task.encode(rows, tokenizer, training=False, cache=outputs / "cache")
            logits = logits_of(model, encoded, task.head, pad_id=tokenizer.pad_token_id, progress=console.each)
            key = task.name + split.removeprefix("test").removesuffix("_matched")
            predictions[key] = task.predict(logits, encoded)
    console.say(str(write_submission(predictions, folder)))
