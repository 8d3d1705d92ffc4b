"""Encoders with a masked-language-model head: the head on chosen positions only, and the pooler it leaves out.

Covers BERT, RoBERTa, DistilBERT and ELECTRA (as generator).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from plmc.core.view import Outputs
from plmc.errors import ConfigError
from plmc.models import encoder


def head_logits(model: nn.Module, hidden: Tensor) -> Tensor:
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


def read_at(
    model: nn.Module, inputs: Mapping[str, Tensor], chosen: Tensor, *, scores: bool = False, **options: Any
) -> Outputs:
    """`Outputs` whose logits are `(N, V)` of the N positions where `chosen` `(B, T)` is true, row by row.

    The product with the vocabulary costs more than the blocks of a small encoder; most positions do not need it. The
    logits keep the type they were computed in: in float32 they would fill more memory than the model.
    """
    output = encoder.base(model)(**inputs, **options)
    maps = output.attentions if "attentions" in output else None
    return Outputs(
        logits=(head_logits(model, output.last_hidden_state[chosen]),),
        hidden_states=output.hidden_states if "hidden_states" in output else None,
        attentions=None if scores else maps,
        scores=maps if scores else None,
    )


def has_head(config: Any) -> bool:
    """Whether a model's files hold a trained head, as far as its config tells."""
    names = config.architectures or ()
    return any(name.endswith("ForMaskedLM") or name == "BertForPreTraining" for name in names)


def attach_pooler(model: nn.Module, pooler: nn.Module | None) -> None:
    """Puts the encoder's pooler back, which the library builds no masked language model with.

    It is frozen and no part of the loss; saved along, it goes on to the models for a task that start from this one.
    """
    if pooler is not None:
        encoder.base(model).pooler = pooler.requires_grad_(False)


def pooler_of(model: nn.Module) -> nn.Module | None:
    """The pooler of an encoder, None where its family or this model has none."""
    return getattr(encoder.base(model), "pooler", None)


@torch.no_grad()
def move_encoder(source: nn.Module, target: nn.Module) -> None:
    """Copies the encoder's weights, the pooler's where both have one; the head of `target` stays as it is."""
    there = encoder.base(target).state_dict()
    missing = [
        name for name in encoder.base(source).state_dict() if name not in there and not name.startswith("pooler.")
    ]
    if missing:
        raise ConfigError(
            f"{type(target).__name__} has no {missing[0]}: the encoders differ. Change no shapes between heads."
        )
    encoder.base(target).load_state_dict(encoder.base(source).state_dict(), strict=False)
