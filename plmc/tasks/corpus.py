"""Unlabelled text as training rows: a file, the embedded world, or a Hub data set."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plmc.core.rows import Split
from plmc.core.stage import Stage
from plmc.data.texts import kind_of
from plmc.errors import ConfigError, DataError
from plmc.tasks.text import TextTask

if TYPE_CHECKING:
    from plmc.config.resolve import Run

DEFAULT_EMBEDDED_ROWS = 5_000
MAX_LENGTH = 128


@dataclass(frozen=True, kw_only=True)
class PlainText(TextTask):
    """Lines of text without labels: only there to be tokenised."""

    name: str = "corpus"
    text = ("text_a",)
    metrics = ()


def corpus(run: Run, stage: Stage, tokenizer: Any) -> Split:
    """One row a line of text, cut at 128 tokens, without labels.

    `stage.corpus`: a text file (plain or .gz), `embedded`, or a Hub data set as `id`, `id:config` or
    `id:config:column`.
    """
    from datasets import Dataset

    lines = _lines(stage.corpus, stage.corpus_rows)
    if stage.corpus_rows:
        lines = lines[: stage.corpus_rows]
    if not lines:
        raise DataError(f"stage {stage.name}: corpus {stage.corpus} holds no text.")
    rows = Dataset.from_dict({"id": np.arange(len(lines)), "text_a": lines})
    text = PlainText(max_length=min(MAX_LENGTH, tokenizer.model_max_length))
    return text.encode(rows, tokenizer, training=True, cache=run.cache)


def _lines(name: str, count: int | None) -> list[str]:
    if name == "embedded":
        from plmc.data.embedded import Embedded

        return Embedded(name="embedded").corpus(count or DEFAULT_EMBEDDED_ROWS)
    path = Path(name).expanduser()
    if path.is_file():
        opened = gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")
        with opened as handle:
            return [line.strip() for line in handle if line.strip()]
    if name.startswith((".", "/", "~")) or path.suffix in (".txt", ".gz"):
        raise ConfigError(f"corpus {name}: no such file.")
    from plmc.data.hub import fetch

    repository, config, column = (*name.split(":"), None, None)[:3]
    found = fetch(repository, config)["train"]
    if (column or "text") not in found.column_names:
        raise ConfigError(f"corpus {name}: its columns are {', '.join(found.column_names)}, not {column or 'text'}.")
    lines = found.select(range(min(count, len(found))))[column or "text"] if count else found[column or "text"]
    return [line for line in lines if line.strip()]


def ready(name: str) -> None:
    """Raises ConfigError or HubUnreachable now, before anything is trained, if a corpus cannot be had; downloads it."""
    if kind_of(name) == "hub":
        _lines(name, 1)
