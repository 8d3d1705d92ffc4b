"""Unlabelled running text: the Hub, local files, or the embedded world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from plmc.core.fields import Count
from plmc.data.source import Source
from plmc.errors import ConfigError, DataError

if TYPE_CHECKING:
    import datasets

    from plmc.tasks.base import Task


@dataclass(frozen=True, kw_only=True)
class Texts(Source):
    """Lines of text with columns `id` and `text_a`, in the order of the corpus; memory-mapped unless embedded.

    Raises ConfigError for a missing file, HubUnreachable where the Hub is silent, DataError for an empty corpus.

    Attributes:
        corpus: a text file or several (plain or .gz), `embedded`, or a Hub data set as `id`, `id:config` or
            `id:config:column`.
        held_out: other text to judge on, or a share such as `1%`: then the corpus' own validation split, and without
            one the end of the corpus.
        rows: the number of lines that are taken from the corpus.
    """

    name: str = "texts"
    corpus: str | Sequence[str]
    held_out: str | float = "1%"
    rows: Count | None = None

    def load(self, task: Task) -> dict[str, datasets.Dataset]:
        from plmc.core.shares import share

        splits = read(self.corpus, self.rows)
        train = splits["train"]
        if len(train) == 0:
            raise DataError(f"corpus {self.corpus} holds no text.")
        if _is_share(self.held_out):
            validation = splits.get("validation")
            if validation is None:
                count = max(1, round(share(self.held_out, "held_out") * len(train)))
                if count >= len(train):
                    raise DataError(f"corpus {self.corpus}: {len(train)} lines are too few to hold some out.")
                train, validation = (
                    train.select(range(len(train) - count)),
                    train.select(range(len(train) - count, len(train))),
                )
        else:
            validation = read(str(self.held_out), None)["train"]
        return {"train": _numbered(train), "validation": _numbered(validation)}


def kind_of(corpus: str | Sequence[str]) -> str:
    """`embedded`, `local` or `hub`. Raises ConfigError for what looks like a file but is none."""
    if corpus == "embedded":
        return "embedded"
    names = [corpus] if isinstance(corpus, str) else list(corpus)
    missing = [name for name in names if not Path(name).expanduser().is_file()]
    if not missing:
        return "local"
    name = str(missing[0])
    if len(names) > 1 or name.startswith((".", "/", "~")) or Path(name).suffix in (".txt", ".gz"):
        raise ConfigError(f"corpus {name}: no such file.")
    return "hub"


def _is_share(value: str | float) -> bool:
    return not isinstance(value, str) or value.strip().endswith("%")


def _numbered(rows: datasets.Dataset) -> datasets.Dataset:
    import numpy as np

    return rows.add_column("id", np.arange(len(rows), dtype=np.int64)) if "id" not in rows.column_names else rows


def read(corpus: str | Sequence[str], rows: Count | None) -> dict[str, datasets.Dataset]:
    """Rows with the column `text_a` of text files, `embedded` or a Hub data set; of its training rows the first
    `rows`."""
    import datasets

    kind = kind_of(corpus)
    if kind == "embedded":
        from plmc.data.embedded import Embedded
        from plmc.data.embedded.source import CORPUS

        world = Embedded(name="embedded")
        count = rows or CORPUS[0]
        held_out = world.corpus(max(1, min(CORPUS[1], count // 4)), role="validation")
        texts = {"train": world.corpus(count), "validation": held_out}
        return {split: datasets.Dataset.from_dict({"text_a": lines}) for split, lines in texts.items()}
    if kind == "local":
        names = [corpus] if isinstance(corpus, str) else list(corpus)
        files = [str(Path(name).expanduser()) for name in names]
        found, column = {"train": datasets.load_dataset("text", data_files=files, split="train")}, "text"
    else:
        from plmc.data.hub import fetch

        path, config, column = (*str(corpus).split(":"), None, None)[:3]
        found, column = dict(fetch(path, config)), column or "text"
        if column not in found["train"].column_names:
            raise ConfigError(
                f"corpus {corpus}: its columns are {', '.join(found['train'].column_names)}, not {column}."
            )
    if rows is not None and rows < len(found["train"]):
        found["train"] = found["train"].select(range(rows))
    kept = {split: rows.select_columns([column]) for split, rows in found.items() if split in ("train", "validation")}
    return {split: rows.rename_column(column, "text_a") for split, rows in kept.items()}
