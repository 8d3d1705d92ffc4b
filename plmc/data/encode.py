"""Tokenised rows on disk: made once, found again by a fingerprint of what they were made from."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plmc import digests
from plmc.console import note
from plmc.core.rows import Ragged
from plmc.errors import ConfigError

if TYPE_CHECKING:
    import datasets

# Raise it when the stored columns change their meaning: old caches are then left alone.
_FORMAT = 1
# Columns of one number a token and the type they are stored in.
TOKENS = {"input_ids": "int32", "token_type_ids": "int8"}
Batch = Mapping[str, Sequence[Any]]


def rows_hash(rows: datasets.Dataset) -> str:
    """SHA-256 of the content of all columns; the same rows give the same hash wherever they come from."""
    import pyarrow as pa

    names = sorted(rows.column_names)
    table = rows.select_columns(names).with_format("arrow")[:].combine_chunks().replace_schema_metadata(None)
    sink = pa.BufferOutputStream()
    # The stream format drops what slicing and earlier concatenation leave behind in the buffers.
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return hashlib.sha256(sink.getvalue()).hexdigest()


def tokenizer_hash(tokenizer: Any) -> str:
    """SHA-256 of everything that decides which tokens a text becomes. Raises ConfigError for a slow tokenizer."""
    if not tokenizer.is_fast:
        raise ConfigError(f"{type(tokenizer).__name__} is a slow tokenizer; plmc needs the fast one of the model.")
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    # Both are rewritten by every call of the tokenizer, so they say how it was used last.
    state.update(truncation=None, padding=None)
    facts = [state, tokenizer.special_tokens_map, tokenizer.model_input_names, tokenizer.truncation_side]
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def check_length(max_length: int, tokenizer: Any, pair: bool) -> None:
    """Raises ConfigError if `max_length` leaves no room for text or exceeds what the model reads."""
    least = tokenizer.num_special_tokens_to_add(pair=pair) + (2 if pair else 1)
    if max_length < least:
        raise ConfigError(f"task.max_length={max_length} leaves no room for text; use {least} or more.")
    if max_length > tokenizer.model_max_length:
        most = tokenizer.model_max_length
        raise ConfigError(
            f"task.max_length={max_length}, but the model reads {most} tokens at most: task.max_length={most}"
        )


def fingerprint(rows: datasets.Dataset, tokenizer: Any, **options: Any) -> str:
    """Names the result of tokenising `rows` with `tokenizer` and `options` (plain values), 32 hex digits."""
    facts = [_FORMAT, rows_hash(rows), tokenizer_hash(tokenizer), options]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def cached(key: str, cache: Path | None, build: Callable[[], datasets.Dataset]) -> datasets.Dataset:
    """The dataset stored under `cache/key`; built and stored first if it is not there. Without `cache`: just built.

    Two processes may do this at once: each writes to its own folder, and the first to finish renames it.
    """
    import datasets

    if cache is None:
        return build()
    folder = cache / key
    if folder.is_dir():
        wrong = digests.fault(folder)
        try:
            if wrong is None:
                return datasets.load_from_disk(str(folder))
        except MemoryError:
            raise
        except Exception as error:  # folders of older versions have no digests, and a damaged one may raise anything
            wrong = f"{folder} is damaged ({type(error).__name__})."
        note(f"{wrong} The rows are tokenised again.")
        shutil.rmtree(folder)
    cache.mkdir(parents=True, exist_ok=True)
    # Named by its process, so that the next run finds out that it is dead.
    work = cache / f".{key}.{os.getpid()}.tmp"
    shutil.rmtree(work, ignore_errors=True)
    try:
        build().save_to_disk(work)
        digests.seal(work)
        _publish(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return datasets.load_from_disk(str(folder))


def _publish(work: Path, folder: Path) -> None:
    try:
        os.replace(work, folder)
    except OSError:
        if not folder.is_dir():
            raise


def tokenise(
    rows: datasets.Dataset,
    encode: Callable[[Batch, list[int]], Batch],
    lists: Mapping[str, str],
    key: str,
    numbers: Mapping[str, str] | None = None,
) -> datasets.Dataset:
    """`Dataset.map` over batches, in memory; `encode(batch, row numbers)` returns the columns that are named.

    Args:
        lists: the columns of one list a row and of one number a row, each with the type that is stored.
        numbers: see `lists`.
    """
    from datasets import Features, Sequence, Value

    features = {name: Sequence(Value(kind)) for name, kind in lists.items()}
    features |= {name: Value(kind) for name, kind in (numbers or {}).items()}
    return rows.map(
        encode,
        batched=True,
        with_indices=True,
        remove_columns=rows.column_names,
        features=Features(features),
        keep_in_memory=True,
        # plmc keeps its own cache; naming the result spares `datasets` from hashing the tokenizer.
        load_from_cache_file=False,
        new_fingerprint=key,
        desc="Tokenising",
    )


def ragged(dataset: datasets.Dataset, name: str) -> Ragged:
    """A list column as flat values and offsets: numpy views on its Arrow array, which is joined first if in pieces."""
    import pyarrow as pa

    column = dataset.data.column(name)
    joined = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
    offsets = joined.offsets.to_numpy()
    return Ragged(joined.values.to_numpy(), offsets.astype(np.int64))
