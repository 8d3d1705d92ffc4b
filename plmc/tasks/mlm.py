"""Masked language modelling as a task: text in, loss and perplexity on held-out text out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from plmc.core.fields import Count, FileName, Share
from plmc.core.rows import Ragged, Split, drawing
from plmc.data.source import Source
from plmc.errors import ConfigError, DataError
from plmc.heads.base import Head
from plmc.heads.masked_lm import MaskedLMHead
from plmc.tasks.base import Task

if TYPE_CHECKING:
    import datasets

    from plmc.data.embedded.source import Embedded
    from plmc.data.hub import Hub
    from plmc.data.local import Local

# Rows that draw their fixed masks together.
_CHUNK = 64
_DRAWS = ("rate", "masked", "random", "smoothing")


@dataclass(frozen=True, kw_only=True)
class MaskedLM(Task):
    """Guess hidden tokens of running text (Devlin et al. 2019, arXiv 1810.04805, Section 3.1, without its next
    sentences).

    Every batch of training rows draws new masks. Held-out rows have fixed masks, drawn evenly without `smoothing`,
    so that runs can be compared. Metrics: `accuracy` of the guesses (it chooses the best weights, being better when
    higher),
    `loss` in nats per guessed token and `perplexity` = exp(loss). Raises ConfigError on shares outside 0 to 1.

    Attributes:
        corpus: the text, see `plmc.data.texts.Texts`; corpus null takes what `data=` offers.
        held_out: see `corpus`.
        rows: see `corpus`.
        pack: neighbouring lines share a row up to `max_length` tokens.
        shortest: tokens below which a row is dropped.
        rate: share of tokens to guess, of which the share `masked` is hidden and `random` replaced.
        smoothing: exponent s of the weight count^-s with which tokens are drawn; 0 draws them evenly, 0.7 favours rare
            ones as DistilBERT does.
    """

    name: FileName = "mlm"
    head: ClassVar[Head] = MaskedLMHead()
    metric: str = "accuracy"
    corpus: str | Sequence[str] | None = None
    held_out: str | float = "1%"
    rows: Count | None = None
    pack: bool = True
    shortest: Count = 12
    rate: Share = 0.15
    masked: Share = 0.8
    random: Share = 0.1
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1 or min(self.masked, self.random) < 0 or self.masked + self.random > 1:
            raise ConfigError(
                f"task.rate={self.rate}, masked={self.masked}, random={self.random} are shares, the last two of the "
                "first. Use 0.15, 0.8 and 0.1."
            )
        if self.smoothing < 0:
            raise ConfigError(f"task.smoothing={self.smoothing} is 0 or more: 0 draws evenly, 0.7 favours rare tokens.")
        if self.metric != "accuracy":
            raise ConfigError(f"task.metric={self.metric}: the best weights have the highest value. Use accuracy.")

    @property
    def metrics(self) -> tuple[str, ...]:
        return ("accuracy", "loss", "perplexity")

    @property
    def text(self) -> tuple[str, ...]:
        return ("text_a",)

    @property
    def own_source(self) -> Source | None:
        from plmc.data.texts import Texts, kind_of

        if self.corpus is None:
            return None
        corpus = self.corpus if isinstance(self.corpus, str) else tuple(self.corpus)
        return Texts(name=kind_of(corpus), corpus=corpus, held_out=self.held_out, rows=self.rows)

    def on(self, other: Task) -> Task:
        # What this one leaves at its default is as the other has it.
        own = {name: getattr(self, name) for name in _DRAWS if getattr(self, name) != getattr(MaskedLM, name)}
        return replace(other, **own)

    def plain(self) -> Task:
        # Every draw of masks is even, so that recipes that favour rare tokens share a teacher.
        return replace(self, smoothing=0.0)

    def from_hub(self, source: Hub) -> dict[str, datasets.Dataset]:
        from plmc.data.hub import CORPUS
        from plmc.data.texts import Texts

        return Texts(corpus=CORPUS, held_out=self.held_out, rows=self.rows).load(self)

    def from_files(self, source: Local) -> dict[str, datasets.Dataset]:
        raise ConfigError("data=local does not know which text to read. Name it: task.corpus=FILE.txt")

    def made_up(self, source: Embedded) -> dict[str, datasets.Dataset]:
        return source.running_text()

    def check(self, tokenizer: Any) -> None:
        from plmc.data.encode import check_length

        check_length(self.max_length, tokenizer, pair=False)
        if tokenizer.mask_token_id is None:
            raise ConfigError("the model's tokenizer has no mask token, so it cannot learn a masked language model.")

    def place(self, split: str) -> str | None:
        return str(self.corpus) if self.corpus else None

    def encode(self, rows: datasets.Dataset, tokenizer: Any, *, training: bool, cache: Path | None = None) -> Split:
        from plmc.data.masking import masking_of
        from plmc.data.packing import pack

        self.check(tokenizer)
        ids, counts, key = pack(
            rows, tokenizer, cache=cache, max_length=self.max_length, pack=self.pack, shortest=self.shortest
        )
        if len(ids) == 0:
            raise DataError(
                f"the text makes no row of {self.shortest} tokens or more. Give more text, or a smaller task.shortest."
            )
        number = np.arange(len(ids), dtype=np.int64)
        options = {name: getattr(self, name) for name in ("rate", "masked", "random", "smoothing")}
        split = Split({"input_ids": ids}, None, number, rows, number, f"{key}-{sorted(options.items())}")
        size = max(tokenizer.get_vocab().values()) + 1
        if training:
            return replace(split, draws=masking_of(tokenizer, counts, size, options))
        even = masking_of(tokenizer, counts, size, options | {"smoothing": 0.0})
        parts = [
            even.draw(split, number[start : start + _CHUNK], drawing(start)) for start in range(0, len(split), _CHUNK)
        ]
        seen = np.concatenate([part.columns["input_ids"].values for part in parts])
        labels = np.concatenate([part.marks.values for part in parts])
        return replace(split, columns={"input_ids": Ragged(seen, ids.offsets)}, labels=Ragged(labels, ids.offsets))

    def predict(self, logits: Sequence[np.ndarray], split: Split) -> list[dict[str, Any]]:
        """One record a row: `guessed` tokens, how many are right, and the sum of their -log p.

        Args:
            logits: three `(N,)`.
        """
        return [
            {"id": int(split.ids[row]), "guessed": int(guessed), "right": int(right), "loss": float(loss)}
            for row, (guessed, right, loss) in enumerate(zip(*logits, strict=True))
        ]

    def score(self, records: Sequence[Mapping[str, Any]], split: Split) -> dict[str, float]:
        guessed = sum(record["guessed"] for record in records)
        if not guessed:
            raise DataError(f"{self.name}: no token of the held-out text is masked. Use more text.")
        loss = math.fsum(record["loss"] for record in records) / guessed
        right = sum(record["right"] for record in records)
        # A diverged model's perplexity exceeds what a float holds.
        perplexity = math.exp(loss) if loss < 700 else math.inf
        return {"accuracy": right / guessed, "loss": loss, "perplexity": perplexity}
