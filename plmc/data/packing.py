"""Running text to rows of tokens for language modelling, on disk and memory-mapped: a corpus may exceed the memory."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plmc.core.rows import Ragged

if TYPE_CHECKING:
    import datasets

# Raise it when the files change their meaning: old ones are then left alone.
_FORMAT = 1
_LINES = 1000
"""Lines tokenised at once."""


def text_hash(rows: datasets.Dataset) -> str:
    """SHA-256 of all texts in order, read in pieces."""
    found = hashlib.sha256()
    for batch in rows.select_columns(["text_a"]).iter(batch_size=_LINES):
        found.update("\n".join(batch["text_a"]).encode())
        found.update(b"\n")
    return found.hexdigest()


def packed_rows(
    rows: datasets.Dataset, tokenizer: Any, *, max_length: int, pack: bool, shortest: int
) -> Iterator[np.ndarray]:
    """Rows of token ids, special tokens included, `(T,)` with T <= `max_length`.

    Args:
        pack: neighbouring lines share a row as long as they fit whole; an empty line ends a document and so a row. A
            line longer than a row is cut into pieces. Rows below `shortest` tokens or half unknown are dropped, as in
            DistilBERT's code.
    """
    room = max_length - tokenizer.num_special_tokens_to_add(pair=False)
    unknown = tokenizer.unk_token_id
    start, end = _specials(tokenizer)
    held: list[int] = []

    def close(tokens: list[int]) -> Iterator[np.ndarray]:
        if len(tokens) + max_length - room >= shortest and tokens.count(unknown) * 2 < len(tokens):
            yield np.array([*start, *tokens, *end], dtype=np.int32)

    for batch in rows.select_columns(["text_a"]).iter(batch_size=_LINES):
        encoded = tokenizer(batch["text_a"], add_special_tokens=False, return_attention_mask=False, verbose=False)
        for tokens in encoded["input_ids"]:
            if held and (not pack or not tokens or len(held) + len(tokens) > room):
                yield from close(held)
                held = []
            while len(tokens) > room:
                yield from close(tokens[:room])
                tokens = tokens[room:]
            held = held + tokens
    if held:
        yield from close(held)


def _specials(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens before and after a text."""
    ids, flags = (tokenizer("a", return_special_tokens_mask=True)[key] for key in ("input_ids", "special_tokens_mask"))
    first, last = flags.index(0), len(flags) - flags[::-1].index(0)
    return ids[:first], ids[last:]


def pack(
    rows: datasets.Dataset, tokenizer: Any, *, cache: Path | None, **options: Any
) -> tuple[Ragged, np.ndarray, str]:
    """Packed rows, the count of every token `(V,)`, and the fingerprint of both.

    With `cache` they lie in `cache/packed/FINGERPRINT` and are memory-mapped; `options`: see `packed_rows`.
    """
    from plmc import digests
    from plmc.console import note
    from plmc.data.encode import tokenizer_hash
    from plmc.files import replacing

    facts = [_FORMAT, text_hash(rows), tokenizer_hash(tokenizer), options]
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
    made = packed_rows(rows, tokenizer, **options)
    if cache is None:
        found = list(made)
        values = np.concatenate([np.zeros(0, dtype=np.int32), *found])
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in found], dtype=np.int64)]).astype(np.int64)
        return Ragged(values, offsets), np.bincount(values, minlength=len(tokenizer)), key
    folder = cache / "packed" / key
    if folder.is_dir() and (wrong := digests.fault(folder)):
        note(f"{wrong} The text is packed again.")
        shutil.rmtree(folder)
    if not folder.is_dir():
        with replacing(folder) as temporary:
            temporary.mkdir(parents=True)
            lengths, counts = [0], np.zeros(len(tokenizer), dtype=np.int64)
            with (temporary / "tokens.int32").open("wb") as file:
                for row in made:
                    row.astype("<i4").tofile(file)
                    lengths.append(len(row))
                    counts += np.bincount(row, minlength=len(counts))
            np.save(temporary / "offsets.npy", np.cumsum(lengths, dtype=np.int64))
            np.save(temporary / "counts.npy", counts)
            digests.seal(temporary)
    tokens = folder / "tokens.int32"
    # An empty file cannot be mapped.
    values = np.memmap(tokens, dtype="<i4", mode="r") if tokens.stat().st_size else np.zeros(0, dtype=np.int32)
    return Ragged(values, np.load(folder / "offsets.npy")), np.load(folder / "counts.npy"), key
