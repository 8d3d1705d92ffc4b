"""Measuring what each layer contributes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cosine_similarity
from torch.nn.utils.rnn import pad_sequence

from plmc.core.rows import Split
from plmc.models.encoder import base, dims

_BATCH = 32


def sample_rows(split: Split, count: int) -> np.ndarray:
    """`count` rows spread evenly over the split, the same ones in every run."""
    return np.unique(np.linspace(0, len(split) - 1, min(count, len(split))).round().astype(int))


@torch.no_grad()
def contribution_scores(model: Any, split: Split, rows: np.ndarray, batch_size: int = _BATCH) -> list[float]:
    """Similarity of each layer's input and output at the first token, one score in [-1, 1] per layer.

    c_i = mean over rows of cos(H_{i-1}[CLS], H_i[CLS]) (Sajjad et al. 2023, arXiv 2004.03844, contribution-based
    dropping). One forward pass a row in evaluation mode; padding is masked. 1 means that the layer changes nothing.
    """
    encoder: Any = base(model)
    device = next(encoder.parameters()).device
    # Hugging Face counts RoBERTa's positions by this id, so 0 is no safe filler.
    filler = {"input_ids": encoder.config.pad_token_id or 0, "token_type_ids": 0}
    columns = {name: column for name, column in split.columns.items() if name in filler}
    total = torch.zeros(dims(model).layers, dtype=torch.float64)
    training = model.training
    model.eval()
    try:
        for start in range(0, len(rows), batch_size):
            chosen = rows[start : start + batch_size]
            ragged = {
                name: [torch.as_tensor(np.array(column[row]), dtype=torch.long) for row in chosen]
                for name, column in columns.items()
            }
            batch = {
                name: pad_sequence(values, batch_first=True, padding_value=filler[name]).to(device)
                for name, values in ragged.items()
            }
            real = pad_sequence([torch.ones_like(ids) for ids in ragged["input_ids"]], batch_first=True)
            states = encoder(**batch, attention_mask=real.to(device), output_hidden_states=True).hidden_states
            first = [state[:, 0].double() for state in states]
            alike = [cosine_similarity(one, two, dim=-1).sum() for one, two in pairwise(first)]
            total += torch.stack(alike).cpu()
    finally:
        model.train(training)
    # Rounding may lift the cosine of equal vectors a hair above 1.
    return (total / len(rows)).clamp(-1, 1).tolist()
