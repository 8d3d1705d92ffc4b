"""Words that may replace a word, by similarity of word vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from plmc import digests
from plmc.console import note
from plmc.errors import DataError
from plmc.files import replacing
from plmc.methods.augment.words import WORD, Sentence, whole_words, word_pieces

GLOVE_ROWS = 100_000

Eligible = Callable[[str], bool]
"""Whether a word may be replaced at all."""


class Candidates(Protocol):
    """For each word of each sentence the words that may replace it; none for words that must stay."""

    def __call__(self, sentences: Sequence[Sentence], eligible: Eligible) -> list[list[Sequence[str]]]: ...


class Neighbours(Protocol):
    """For each word its nearest words, nearest first and without itself; none if the word is unknown."""

    def __call__(self, words: Iterable[str]) -> dict[str, Sequence[str]]: ...


def no_neighbours(words: Iterable[str]) -> dict[str, Sequence[str]]:
    """Every word stays."""
    return dict.fromkeys(words, ())


class ByWord:
    """Candidates that depend on the word alone. Each distinct word is looked up once."""

    def __init__(self, neighbours: Neighbours):
        self._neighbours = neighbours
        self._known: dict[str, Sequence[str]] = {}

    def __call__(self, sentences: Sequence[Sentence], eligible: Eligible) -> list[list[Sequence[str]]]:
        new = {word for sentence in sentences for word in sentence.words} - self._known.keys()
        self._known |= dict.fromkeys(new, ())
        self._known |= self._neighbours(sorted(word for word in new if eligible(word)))
        return [[self._known[word] for word in sentence.words] for sentence in sentences]


class EmbeddingNeighbours:
    """Nearest whole words of a model's vocabulary, by cosine of its input embeddings.

    Attributes:
        matrix: `(V, D)`, row i belongs to token i of `tokenizer`. Words of several pieces have no vector here;
            `several` serves them. The table of all k nearest words is computed once per vocabulary and kept in `cache`.

    Raises:
        DataError: if the matrix has fewer rows than the vocabulary.
    """

    def __init__(
        self, matrix: Tensor, tokenizer: Any, *, k: int, several: Neighbours = no_neighbours, cache: Path | None = None
    ):
        if len(tokenizer) > len(matrix):
            raise DataError(
                f"augment: the tokenizer has {len(tokenizer)} entries, the embeddings only {len(matrix)}: they do not "
                f"belong together. Use a teacher with the student's vocabulary, or candidates=glove."
            )
        self._tokenizer, self._k, self._several = tokenizer, k, several
        ids, self._texts = whole_words(tokenizer)
        self._row = {token: row for row, token in enumerate(ids)}
        self._keys = F.normalize(matrix.detach()[ids].float(), dim=-1)
        self._table = self._load_or_build(cache)

    def __call__(self, words: Iterable[str]) -> dict[str, Sequence[str]]:
        words = list(words)
        pieces = dict(zip(words, word_pieces(self._tokenizer, words), strict=True))
        several = [word for word in words if len(pieces[word]) > 1]
        found: dict[str, Sequence[str]] = {
            word: self._read(self._table[self._row[ids[0]]]) if len(ids) == 1 and ids[0] in self._row else ()
            for word, ids in pieces.items()
        }
        return found | self._several(several)

    def _read(self, rows: np.ndarray) -> tuple[str, ...]:
        return tuple(self._texts[row] for row in rows)

    def _load_or_build(self, cache: Path | None) -> np.ndarray:
        def build() -> np.ndarray:
            return nearest_rows(self._keys, self._keys, own=torch.arange(len(self._keys)), k=self._k)

        if cache is None:
            return build()
        digest = hashlib.sha256(self._keys.cpu().numpy().tobytes())
        digest.update(f"{self._k} {self._texts}".encode())
        path = Path(cache) / f"neighbours-{digest.hexdigest()[:16]}.npy"
        if path.exists() and (wrong := digests.file_fault(path)):
            note(f"{wrong} The table of neighbours is made again.")
            path.unlink()
        if not path.exists():
            with replacing(path) as partial:
                with partial.open("wb") as file:
                    np.save(file, build())
                digests.seal_file(path, partial)
        return np.load(path)


class GloveNeighbours:
    """Nearest words among the first 100,000 of a GloVe text file, by cosine.

    Each line of `path`: a word and its numbers, separated by spaces, most frequent words first.

    Raises:
        DataError: on a line with fewer numbers than the first.
    """

    def __init__(self, path: str | Path, *, k: int, rows: int = GLOVE_ROWS):
        vectors, self._words, self._k = [], [], k
        width = None
        with Path(path).open(encoding="utf-8") as file:
            for number, line in zip(range(1, rows + 1), file, strict=False):
                columns = line.rstrip("\n ").split(" ")
                width = width or len(columns) - 1
                # A few entries of the 840B release hold spaces themselves, hence a word of all that is left.
                word, values = " ".join(columns[:-width]), columns[-width:]
                if len(columns) <= width:
                    raise DataError(f"{path}, line {number}: {len(columns) - 1} numbers where line 1 has {width}.")
                if WORD.fullmatch(word):
                    self._words.append(word)
                    vectors.append(np.array(values, dtype=np.float32))
        if not vectors:
            raise DataError(f"{path} holds no word vectors. Expected lines of a word and its numbers, as in glove.6B.")
        self._keys = F.normalize(torch.from_numpy(np.stack(vectors)), dim=-1)
        self._row = {word: row for row, word in enumerate(self._words)}

    def __call__(self, words: Iterable[str]) -> dict[str, Sequence[str]]:
        # Most GloVe releases are lower-case, so a capitalised word is also tried without its capitals.
        words = list(words)
        rows = {word: self._row.get(word, self._row.get(word.lower())) for word in words}
        known = [word for word in words if rows[word] is not None]
        own = torch.tensor([rows[word] for word in known], dtype=torch.long)
        nearest = nearest_rows(self._keys[own], self._keys, own=own, k=self._k)
        found: dict[str, Sequence[str]] = {
            word: tuple(self._words[row] for row in near) for word, near in zip(known, nearest, strict=True)
        }
        return dict.fromkeys(words, ()) | found


def nearest_rows(queries: Tensor, keys: Tensor, *, own: Tensor, k: int, chunk: int = 1024) -> np.ndarray:
    """Indices of the k rows of `keys` with the largest inner product with each row of `queries`, `(Q, k)` int32.

    Args:
        own: for each query the row of `keys` that is the query itself and does not count. Where there are fewer than k
            other rows, all of them are returned.
    """
    k = min(k, len(keys) - 1)
    found = np.empty((len(queries), k), dtype=np.int32)
    for begin in range(0, len(queries), chunk):
        similarity = queries[begin : begin + chunk] @ keys.T
        similarity[torch.arange(len(similarity)), own[begin : begin + chunk]] = -torch.inf
        found[begin : begin + chunk] = similarity.topk(k, dim=-1).indices.cpu().numpy()
    return found
