"""What the core carries and no recipe has yet: rows of several sequences, and parameters with another optimizer."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from plmc.core.clock import BEGINNING
from plmc.core.method import Method
from plmc.core.rows import Split
from plmc.testing.stage import VOCABULARY, rows


def choices(count: int, *, seed: int = 0) -> Split:
    """`count` rows of two to four random sequences."""
    sizes = np.random.default_rng([seed, 9]).integers(2, 5, count)
    examples = np.concatenate([[0], np.cumsum(sizes)])
    each, number = rows(int(examples[-1]), seed=seed), np.arange(count)
    return replace(
        each,
        labels=(number % sizes).astype(np.int64),
        ids=number + 100,
        source=number,
        examples=examples,
        fingerprint=f"choices-{count}-{seed}",
    )


@dataclass
class Choose(Method):
    """Cross-entropy of the right sequence under the softmax over the first logits of a row's sequences."""

    def terms(self, clock=BEGINNING):
        return {"choice": 1.0}

    def losses(self, view, clock):
        sizes = np.diff(view.examples).tolist()
        scores = pad_sequence(view.student.logits[0][:, 0].split(sizes), batch_first=True, padding_value=-torch.inf)
        return {"choice": torch.nn.functional.cross_entropy(scores, view.gold, reduction="none")}


class Table(Method):
    """An extra table of a number for each word, whose mean over a row is drawn to 1."""

    def __init__(self, sparse=True, **options):
        super().__init__()
        self.sparse, self.options = sparse, options

    def modules(self, setting):
        torch.manual_seed(3)
        self.table = nn.Embedding(VOCABULARY, 1, sparse=self.sparse)
        return self.table

    def groups(self, name, param):
        return self.options if name.startswith("extra.") else {}

    def terms(self, clock=BEGINNING):
        return {"table": 1.0}

    def losses(self, view, clock):
        found = (self.table(view.batch["input_ids"])[..., 0] * view.mask).sum(-1) / view.mask.sum(-1)
        return {"table": (found - 1).square()}
