"""Attention functions for any Hugging Face encoder with a pluggable one: scores before mask and softmax, and prefixes.

`output_attentions=True` normally yields probabilities. Importing this module registers two attention implementations.
Both compute exactly what eager attention computes, over the keys and values of a prefix, too, where the module has one
(`plmc.models.edits.prefix`); `SCORES` hands out Q Kᵀ/√d in place of probabilities, `PREFIXED` the probabilities.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from plmc.errors import ConfigError
from plmc.models.families.find import of, those_with

SCORES, PREFIXED = "plmc_scores", "plmc_prefixed"
"""Names of the attention implementations, as in `attn_implementation=` of Transformers."""
OWN = (SCORES, PREFIXED)


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
        module: may have a prefix, whose scores are not handed out.
        query: `(B, H, T, D)`.
        key: see `query`.
        value: see `query`.
        attention_mask: additive, or None. Further arguments of the interface of Transformers concern causal and cached
            attention and are not used by encoders.
    """
    output, scores, _ = _attend(module, query, key, value, attention_mask, scaling, dropout)
    return output, scores


def prefixed_attention(*inputs: Any, **options: Any) -> tuple[Tensor, Tensor]:
    """`scores_attention` that returns the probabilities after dropout, those of a prefix first."""
    output, _, probabilities = _attend(*inputs, **options)
    return output, probabilities


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """Output, scores of the tokens, and probabilities."""
    scaling = query.size(-1) ** -0.5 if scaling is None else scaling
    length = 0
    if (own := getattr(module, "prefix_key", None)) is not None:
        rows, length = len(query), own.size(1)
        key = torch.cat([own.to(key.dtype).expand(rows, -1, -1, -1), key], dim=2)
        values: Any = module.prefix_value
        value = torch.cat([values.to(value.dtype).expand(rows, -1, -1, -1), value], dim=2)
        if attention_mask is not None:  # every token sees the prefix
            seen = attention_mask.new_zeros((*attention_mask.shape[:-1], length))
            attention_mask = torch.cat([seen, attention_mask], dim=-1)
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    probabilities = attention_probabilities(scores, attention_mask)
    dropped = nn.functional.dropout(probabilities, p=dropout, training=module.training)
    return torch.matmul(dropped, value).transpose(1, 2).contiguous(), scores[..., length:], dropped


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
    family = of(model)
    if family is None or family.interface:
        model.set_attn_implementation(SCORES)
    if model.config._attn_implementation != SCORES:
        raise ConfigError(
            f"{type(model).__name__} computes attention by itself, so its scores before the softmax cannot be read. "
            f"Leave the attention term out (attention=0). {those_with('interface')}"
        )


# Transformers builds no mask at all for names it does not know; this attention needs the additive one.
for _name, _function in ((SCORES, scores_attention), (PREFIXED, prefixed_attention)):
    AttentionInterface.register(_name, _function)
    AttentionMaskInterface.register(_name, AttentionMaskInterface()["eager"])
