"""Unlabelled text as training rows: a file, the embedded world, or a Hub data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from plmc.core.rows import Split
from plmc.core.stage import Stage
from plmc.data.texts import kind_of, read
from plmc.errors import DataError
from plmc.tasks.text import TextTask

if TYPE_CHECKING:
    from plmc.config.resolve import Run

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
    """The lines that are not empty; of a file all of them, elsewhere those of the first `count` rows."""
    rows = None if kind_of(name) == "local" else count
    return [line.strip() for line in read(name, rows)["train"]["text_a"] if line.strip()]


def ready(name: str) -> None:
    """Raises ConfigError or HubUnreachable now, before anything is trained, if a corpus cannot be had; downloads it."""
    if kind_of(name) == "hub":
        _lines(name, 1)
