"""A random masked language model, and random running text for it."""

from __future__ import annotations

import numpy as np
import torch
from transformers import BertConfig, BertForMaskedLM

from plmc.core.rows import Ragged, Split
from plmc.data.masking import Masking

V = 60
SHAPE = dict(vocab_size=V, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48)


def lm(seed: int = 0, layers: int = 2, dropout: float = 0.1) -> BertForMaskedLM:
    torch.manual_seed(seed)
    rates = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    return BertForMaskedLM(BertConfig(**{**SHAPE, "num_hidden_layers": layers}, max_position_embeddings=40, **rates))


def text(count: int = 30, seed: int = 0) -> Split:
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(5, 20, count))])
    ids = Ragged(rng.integers(5, V, offsets[-1]), offsets)
    weights = np.where(np.arange(V) < 5, 0.0, 1.0)
    number = np.arange(count)
    masking = Masking(weights=weights, ordinary=np.arange(5, V), mask_id=4, rate=0.3)
    return Split({"input_ids": ids}, None, number, None, number, f"text-{count}-{seed}", draws=masking)
