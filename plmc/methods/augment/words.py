"""Words of a text that may be replaced, and words of a vocabulary that may replace them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

WORD = re.compile(r"[^\W_]+")


class Sentence(NamedTuple):
    """A text as n words (runs of letters and digits) and the n + 1 gaps around them: spaces, punctuation, nothing."""

    words: list[str]
    gaps: list[str]

    @property
    def text(self) -> str:
        """The text it was split from."""
        return "".join(self.parts)

    @property
    def parts(self) -> list[str]:
        """Gaps and words in turn; word i is part 2 i + 1."""
        mixed = [""] * (2 * len(self.words) + 1)
        mixed[0::2], mixed[1::2] = self.gaps, self.words
        return mixed

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Characters `(begin, end)` of each word in `text`."""
        found, position = [], 0
        for i, part in enumerate(self.parts):
            if i % 2:
                found.append((position, position + len(part)))
            position += len(part)
        return found


def split_words(text: str) -> Sentence:
    """Splits `text` so that joining the parts gives it back unchanged."""
    gaps, words, position = [], [], 0
    for match in WORD.finditer(text):
        gaps.append(text[position : match.start()])
        words.append(match.group())
        position = match.end()
    return Sentence(words, [*gaps, text[position:]])


def whole_words(tokenizer: Any) -> tuple[list[int], list[str]]:
    """Ids and texts of the vocabulary's entries that are words of their own, by id.

    Word pieces that continue a word (`##ing`; without `Ġ` or `▁` in vocabularies that mark the beginning), special
    tokens and punctuation are left out.
    """
    tokens: Sequence[str] = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    begin = next((mark for mark in "Ġ▁" if any(t.startswith(mark) for t in tokens)), None)
    special = set(tokenizer.all_special_ids)
    ids, texts = [], []
    for i, token in enumerate(tokens):
        if i in special or (begin is not None and not token.startswith(begin)):
            continue
        # Byte-level vocabularies store bytes as stand-in characters; only the tokenizer knows how to read them.
        text = token if begin is None else tokenizer.convert_tokens_to_string([token]).strip()
        if WORD.fullmatch(text):
            ids.append(i)
            texts.append(text)
    return ids, texts


def word_pieces(tokenizer: Any, words: Sequence[str]) -> list[list[int]]:
    """Ids of the pieces of each word as it is inside a sentence, without special tokens."""
    if not words:
        return []
    # The space makes byte-level tokenizers see the word in mid-sentence; others drop it.
    return tokenizer([f" {word}" for word in words], add_special_tokens=False)["input_ids"]
