"""Teacher outputs: live for hidden states, computed once and shared on disk for logits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import nn

from plmc.core.view import Outputs
from plmc.data.types import Split
from plmc.masked_lm import read_at
from plmc.train.batches import Batch
from plmc.train.checkpoint import replacing
from plmc.train.evaluate import logits_of
from plmc.train.objective import positions, read

Teacher = Callable[[Batch], Outputs]


def live(model: nn.Module, needs: frozenset[str], kind: str) -> Teacher:
    """The teacher runs on every batch, frozen and in evaluation mode; one forward serves all methods."""
    model.eval().requires_grad_(False)
    options = {}
    scores = "teacher.scores" in needs
    if "teacher.hidden_states" in needs:
        options["output_hidden_states"] = True
    if scores or "teacher.attentions" in needs:
        options["output_attentions"] = True

    def outputs(batch: Batch) -> Outputs:
        with torch.no_grad():
            if kind == "mlm":
                return read_at(model, batch.inputs, positions(batch, "all_tokens" in needs), scores=scores, **options)
            return read(model(**batch.inputs, **options), kind=kind, scores=scores)

    return outputs


def cached_logits(
    model: nn.Module, split: Split, *, identity: str, kind: str, pad_id: int, autocast: torch.dtype | None, cache: Path,
    progress=None,
) -> tuple[np.ndarray, ...]:
    """Logits of all rows, memory-mapped: `(N, C)`, or for spans one flat array over all tokens of all rows.

    Keyed by teacher (`identity`), rows (`split.fingerprint`) and precision, so every job with the same three shares one
    file; a lock lets two jobs that need it at once compute it once.
    """
    key = hashlib.sha256(json.dumps([identity, split.fingerprint, kind, str(autocast)]).encode()).hexdigest()[:24]
    folder = cache / "teacher" / key
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.is_dir():
            heads = logits_of(model, split, kind=kind, pad_id=pad_id, autocast=autocast, progress=progress)
            if kind == "span":
                real = np.arange(heads[0].shape[1]) < split.lengths[:, None]
                heads = tuple(head[real] for head in heads)
            with replacing(folder) as temporary:
                temporary.mkdir()
                for i, head in enumerate(heads):
                    np.save(temporary / f"head{i}.npy", head)
    return tuple(np.load(path, mmap_mode="r") for path in sorted(folder.glob("head*.npy")))


def from_logits(heads: tuple[np.ndarray, ...], split: Split, kind: str) -> Teacher:
    """A teacher that looks its logits up by row."""
    offsets = split.columns["input_ids"].offsets

    def outputs(batch: Batch) -> Outputs:
        mask = batch.inputs["attention_mask"]
        if kind != "span":
            found = tuple(np.ascontiguousarray(head[batch.rows]) for head in heads)
        else:
            found = tuple(np.full(tuple(mask.shape), -np.inf, dtype=np.float32) for _ in heads)
            for head, values in zip(found, heads, strict=True):
                for i, row in enumerate(batch.rows):
                    tokens = values[offsets[row] : offsets[row + 1]]
                    head[i, : len(tokens)] = tokens
        return Outputs(logits=tuple(torch.from_numpy(head).to(mask.device) for head in found))

    return outputs
