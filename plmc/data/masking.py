"""Which tokens a masked language model has to guess, and what it sees in their place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from plmc.core.rows import Draws, Ragged, Split

IGNORED = -100
"""Label of a token that is not to be guessed."""


@dataclass(frozen=True)
class Masking:
    """Hides tokens of a batch; a pure function of the tokens and of the generator it is given.

    ceil(`rate` x real tokens) positions are drawn without replacement over all tokens of the batch, each with a
    probability proportional to `weights[token]`; of these the share `masked` becomes `mask_id`, the share `random` one
    of
    `ordinary`, the others stay (Devlin et al. 2019, Section 3.1: 0.15, 0.8, 0.1). `weights` `(V,)`: 0 for special
    tokens, else 1, or count^-0.7 to favour rare tokens as DistilBERT's code does.
    """

    weights: np.ndarray
    ordinary: np.ndarray
    mask_id: int
    rate: float = 0.15
    masked: float = 0.8
    random: float = 0.1

    def draw(self, split: Split, rows: np.ndarray, rng: np.random.Generator) -> Split:
        """See `plmc.core.rows.Draws`: the same tokens, some of them hidden."""
        ids = split.columns["input_ids"]
        offsets = np.concatenate([[0], np.cumsum(ids.sizes(rows))])
        tokens = np.concatenate([ids[row] for row in rows]) if len(rows) else np.zeros(0, dtype=np.int64)
        seen, labels = self.hide(tokens, rng)
        return replace(
            split,
            columns={"input_ids": Ragged(seen, offsets)},
            labels=Ragged(labels, offsets),
            ids=split.ids[rows],
            source=split.source[rows],
            draws=None,
            feed=None if split.feed is None else split.feed[rows],
            facts={name: fact[rows] for name, fact in split.facts.items()},
        )

    def like(self, other: Draws) -> bool:
        """Whether both hide the tokens of any row alike."""
        if not isinstance(other, Masking):
            return False
        rates = [(each.rate, each.masked, each.random, each.mask_id) for each in (self, other)]
        return rates[0] == rates[1] and np.array_equal(self.weights, other.weights)

    def hide(self, tokens: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Tokens `(N,)` as the model sees them, and labels `(N,)`: the token where it is to be guessed, else -100."""
        tokens = np.asarray(tokens, dtype=np.int64)
        weight = self.weights[tokens]
        count = min(int(np.ceil(self.rate * len(tokens) - 1e-9)), int(np.count_nonzero(weight)))
        with np.errstate(divide="ignore"):
            # The largest of log w + Gumbel noise are a weighted draw without replacement (Vieira 2014; Kool et al.
            # 2019).
            keys = np.log(weight) + rng.gumbel(size=len(tokens))
        chosen = np.sort(np.argpartition(-keys, count - 1)[:count]) if count else np.zeros(0, dtype=np.int64)
        labels = np.full(len(tokens), IGNORED, dtype=np.int64)
        labels[chosen] = tokens[chosen]
        seen = tokens.copy()
        lot = rng.random(count)
        other = rng.choice(self.ordinary, size=count)
        seen[chosen] = np.where(
            lot < self.masked, self.mask_id, np.where(lot < self.masked + self.random, other, tokens[chosen])
        )
        return seen, labels


def masking_of(tokenizer: Any, counts: np.ndarray, size: int, options: Mapping[str, float]) -> Masking:
    """The masking of a corpus. `counts` `(V,)`: how often each token occurs;

    Args:
        size: the model's vocabulary.
        options: `rate`, `masked`, `random` and `smoothing`; the weight of a token is max(count, 1)^-smoothing.
    """
    special = np.array(sorted(tokenizer.all_special_ids), dtype=np.int64)
    weights = np.maximum(counts[:size], 1).astype(np.float64) ** -options["smoothing"]
    weights[special] = 0.0
    ordinary = np.setdiff1d(np.array(sorted(tokenizer.get_vocab().values()), dtype=np.int64), special)
    rates = {name: options[name] for name in ("rate", "masked", "random")}
    return Masking(weights=weights, ordinary=ordinary, mask_id=tokenizer.mask_token_id, **rates)
