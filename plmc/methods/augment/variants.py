"""Variants of a text with other words in it, and the rows they make."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from plmc.methods.augment.words import Sentence


def replace_words(
    sentence: Sentence, candidates: Sequence[Sequence[str]], *, p: float, count: int, rng: np.random.Generator
) -> list[str]:
    """`count` texts in which each word is, with probability `p`, one of its `candidates`, drawn evenly.

    A word without candidates stays. The number of words does not change.
    """
    sizes = np.array([len(options) for options in candidates], dtype=np.int64)
    # Strictly below, so that p = 0 never replaces; random() is below 1, so p = 1 always does.
    replaced = (rng.random((count, len(sizes))) < p) & (sizes > 0)
    choice = (rng.random((count, len(sizes))) * sizes).astype(np.int64)
    original = sentence.parts
    parts = [original.copy() for _ in range(count)]
    variant, word = np.nonzero(replaced)
    for v, w, c in zip(variant.tolist(), word.tolist(), choice[variant, word].tolist(), strict=True):
        parts[v][2 * w + 1] = candidates[w][c]
    return ["".join(part) for part in parts]


def distinct(texts: Sequence[str], original: str) -> list[str]:
    """`texts` without repetitions and without `original`, in their order."""
    return [text for text in dict.fromkeys(texts) if text != original]


def pair_up(original: Sequence[str], variants: Sequence[Sequence[str]], *, with_last: bool) -> list[tuple[str, ...]]:
    """Rows made of one row of one or two texts: the original, then one row per variant of either text.

    The other text of a variant is the original one;

    Args:
        with_last: variants of the second text are paired with the last variant of the first.
    """
    rows, current = [tuple(original)], list(original)
    for field, texts in enumerate(variants):
        for text in texts:
            current[field] = text
            rows.append(tuple(current))
        if not with_last:
            current[field] = original[field]
    return rows
