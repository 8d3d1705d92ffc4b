"""Vocabulary trimming: the embedding table keeps the tokens that the task uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from plmc.core.fields import Amount
from plmc.core.method import Method
from plmc.core.setting import Building, Setting
from plmc.errors import ConfigError
from plmc.methods.prune.tokens import closed, trimmed
from plmc.models import encoder


@dataclass
class VocabularyTrim(Method):
    """Exports a model and a tokenizer that know only the tokens of the training rows; training itself is unchanged.

    A text all of whose tokens are kept is split as before and answered bit for bit as before. Any other word falls back
    to shorter pieces. Abdaoui, Pradel & Sigel (2020, arXiv 2010.05609; recalled, not read) trim a multilingual BERT so.

    Needs the task's rows and a WordPiece or BPE tokenizer. Scores after it are those of the new tokenizer; the stages
    that follow read with it. Composes badly with quantization listed later, whose grid is that of the table. Raises
    ConfigError for another tokenizer, for masked-language models and for a missing file.

    Attributes:
        min_count: how often a token must occur in the stage's training rows to be kept; 0 keeps all.
        characters: keep every token of one character, so that unseen words need no unknown token; byte-level BPE always
            does.
        corpus: a text file, one text a line, whose tokens count, too.
    """

    family: ClassVar[str] = "pruning"
    exclusive: ClassVar[frozenset[str]] = frozenset({"vocabulary"})

    min_count: Amount = 1
    characters: bool = True
    corpus: str | None = None

    def __post_init__(self) -> None:
        self._kept: list[int] = []

    def check(self, setting: Setting) -> None:
        if setting.head.over_vocabulary:
            raise ConfigError(f"{self.name}: a masked-language model predicts all tokens. Remove ~methods.{self.name}")
        if self.corpus is not None and not Path(self.corpus).is_file():
            raise ConfigError(f"{self.name}: corpus={self.corpus} is no file. Set methods.{self.name}.corpus=FILE.txt")
        names = list(setting.methods)
        for name in names[names.index(self.name) + 1 :] if self.name in names else []:
            if "quantize" in setting.methods[name].exclusive:
                raise ConfigError(
                    f"{self.name}: {name} puts the embedding table on a grid that depends on its rows, so rows must go "
                    f"first, and methods finish in reverse. List {self.name} last: method=[{name},{self.name}]"
                )

    def prepare(self, model: nn.Module, setting: Building) -> nn.Module:
        self._kept = []
        return model

    def finish(self, model: nn.Module, setting: Building) -> nn.Module:
        if self.min_count == 0:
            return model
        if not self._kept:
            counts = self._counts(setting)
            ids = {*np.flatnonzero(counts >= self.min_count).tolist(), *_special(model.config).values()}
            self._kept = closed(setting.tokenizer, ids, characters=self.characters)
        keep_rows(model, self._kept)
        return model

    def tokenizer(self, tokenizer: Any) -> Any:
        return trimmed(tokenizer, self._kept) if self._kept else tokenizer

    def metrics(self) -> dict[str, float]:
        return {"tokens": float(len(self._kept))} if self._kept else {}

    def state_dict(self) -> dict[str, Any]:
        return {"kept": list(self._kept)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._kept = list(state["kept"])

    def _counts(self, setting: Building) -> np.ndarray:
        if setting.data.train is None:
            raise ConfigError(
                f"{self.name} counts tokens of training rows, and there are none. Remove ~methods.{self.name}"
            )
        size = setting.student.vocabulary
        counts = np.bincount(setting.data.train.columns["input_ids"].values, minlength=size)
        if self.corpus is not None:
            lines = Path(self.corpus).read_text(encoding="utf-8").splitlines()
            for start in range(0, len(lines), 1000):
                encoded = setting.tokenizer(lines[start : start + 1000])["input_ids"]
                counts += np.bincount(
                    np.concatenate([np.asarray(ids, dtype=np.int64) for ids in encoded]), minlength=size
                )
        return counts


@torch.no_grad()
def keep_rows(model: Any, kept: list[int]) -> None:
    """Reduces the word embedding to the rows `kept`, renumbers the config's special tokens; in place.

    Raises ConfigError for a model that predicts tokens, and where positions are counted from a padding id that moves.
    """
    if model.get_output_embeddings() is not None:
        raise ConfigError(f"{type(model).__name__} predicts tokens of its whole vocabulary, so none can be trimmed.")
    place = {old: new for new, old in enumerate(kept)}
    table, config = model.get_input_embeddings(), model.config
    first = getattr(encoder.embeddings(model), "padding_idx", None)
    if first is not None and place.get(first) != first:
        raise ConfigError(
            f"{type(model).__name__} counts positions from the id of the padding token ({first}), which trimming would "
            "move. Remove ~methods.vocab_trim"
        )
    table.weight = nn.Parameter(table.weight[kept].clone(), table.weight.requires_grad)
    table.num_embeddings = len(kept)
    if table.padding_idx is not None:
        table.padding_idx = place[table.padding_idx]
    for key, old in _special(config).items():
        setattr(config, key, place[old])
    config.vocab_size = len(kept)


def _special(config: Any) -> dict[str, int]:
    """The config's fields that name a token of the vocabulary."""
    found = {key: value for key, value in vars(config).items() if key.endswith("_token_id")}
    return {key: value for key, value in found.items() if isinstance(value, int) and 0 <= value < config.vocab_size}
