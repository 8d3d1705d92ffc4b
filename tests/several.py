"""Rows of two to four sequences of which one is right, and a loss over them."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from plmc.core.clock import BEGINNING
from plmc.core.method import Method
from plmc.core.rows import Split
from plmc.testing.stage import rows


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
