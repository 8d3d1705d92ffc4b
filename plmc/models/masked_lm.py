"""Encoders with a masked-language-model head: the head on chosen positions only, and the pooler it leaves out.

Covers BERT, RoBERTa, DistilBERT and ELECTRA (as generator).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from plmc.errors import ConfigError
from plmc.models import encoder, load


def head_logits(model: Any, hidden: Tensor) -> Tensor:
    """Logits `(N, V)` of the model's head for the last hidden states `(N, D)` of N positions."""
    kind = model.config.model_type
    if kind == "bert":
        return model.cls(hidden)
    if kind == "roberta":
        return model.lm_head(hidden)
    if kind == "distilbert":
        return model.vocab_projector(model.vocab_layer_norm(model.activation(model.vocab_transform(hidden))))
    if kind == "electra":
        return model.generator_lm_head(model.generator_predictions(hidden))
    raise ConfigError(f"{type(model).__name__} has no head that plmc knows. Use BERT, RoBERTa, DistilBERT or ELECTRA.")


def has_head(config: Any) -> bool:
    """Whether a model's files hold a trained head, as far as its config tells."""
    names = config.architectures or ()
    return any(name.endswith("ForMaskedLM") or name == "BertForPreTraining" for name in names)


def attach_pooler(model: Any, pooler: nn.Module | None) -> None:
    """Puts the encoder's pooler back, which the library builds no masked language model with.

    It is frozen and no part of the loss; saved along, it goes on to the models for a task that start from this one.
    """
    if pooler is not None:
        encoder.base(model).pooler = pooler.requires_grad_(False)


def stored_pooler(name: str) -> nn.Module | None:
    """The pooler in the files of a model folder or Hub id; None where they hold none."""
    from transformers import AutoModel

    with torch.random.fork_rng(devices=[]), load.quiet(), load.readable(name):
        whole, report = AutoModel.from_pretrained(
            load.with_weights(name),
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            trust_remote_code=False,
        )
    return None if any("pooler." in key for key in report["missing_keys"]) else pooler_of(whole)


def pooler_of(model: Any) -> nn.Module | None:
    """The pooler of an encoder, None where its family or this model has none."""
    return getattr(encoder.base(model), "pooler", None)
