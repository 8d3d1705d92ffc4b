"""Attention scores before mask and softmax, from any Hugging Face encoder with a pluggable attention function.

`output_attentions=True` normally yields probabilities. Importing this module registers the attention implementation
`SCORES`, which computes exactly what eager attention computes, but hands out Q Kᵀ/√d instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from plmc.errors import ConfigError

SCORES = "plmc_scores"
"""Name of the attention implementation, as in `attn_implementation=` of Transformers."""


def scores_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, Tensor]:
    """Eager attention that returns the output `(B, T, H, D)` and Q Kᵀ/√d before mask and softmax, `(B, H, T, T)`.

    Args:
        query: `(B, H, T, D)`.
        key: see `query`.
        value: see `query`.
        attention_mask: additive, or None. Further arguments of the interface of Transformers concern causal and cached
            attention and are not used by encoders.
    """
    scaling = query.size(-1) ** -0.5 if scaling is None else scaling
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    probabilities = attention_probabilities(scores, attention_mask)
    dropped = nn.functional.dropout(probabilities, p=dropout, training=module.training)
    return torch.matmul(dropped, value).transpose(1, 2).contiguous(), scores


def attention_probabilities(scores: Tensor, additive_mask: Tensor | None = None) -> Tensor:
    """Softmax over keys of `scores` `(B, H, T, T)` plus an additive mask that broadcasts to it."""
    return torch.softmax(scores if additive_mask is None else scores + additive_mask, dim=-1)


@contextmanager
def eager(model: PreTrainedModel) -> Iterator[None]:
    """Attention as plain matrix products, which counters and exporters understand; afterwards as it was."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def use_scores(model: PreTrainedModel) -> None:
    """Makes `output_attentions=True` of `model` yield scores; its logits do not change.

    Needs an encoder whose attention goes through the attention interface of Transformers (BERT, RoBERTa, DistilBERT,
    ELECTRA and most others). Undo: `model.set_attn_implementation("sdpa")`. Saved configs do not name the
    implementation.

    Raises:
        ConfigError: on a model with hard-wired attention.
    """
    model.set_attn_implementation(SCORES)
    if model.config._attn_implementation != SCORES:
        raise ConfigError(
            f"{type(model).__name__} computes attention by itself, so its scores before the softmax cannot be read. "
            f"Leave the attention term out (attention=0), or use a BERT, RoBERTa, DistilBERT or ELECTRA model."
        )


# Transformers builds no mask at all for names it does not know; this attention needs the additive one.
AttentionInterface.register(SCORES, scores_attention)
AttentionMaskInterface.register(SCORES, AttentionMaskInterface()["eager"])
