"""Encoders with a masked-language-model head: the head on chosen positions only, and the pooler it leaves out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from plmc.errors import ConfigError
from plmc.models import encoder, load
from plmc.models.families.find import USE, of
from plmc.models.reading import quiet, readable


def head_logits(model: Any, hidden: Tensor) -> Tensor:
    """Logits `(N, V)` of the model's head for the last hidden states `(N, D)` of N positions."""
    family = of(model)
    if family is None:
        raise ConfigError(f"{type(model).__name__} has no head that plmc knows. {USE}")
    found: Tensor = family.language(model, hidden)
    return found


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

    with torch.random.fork_rng(devices=[]), quiet(), readable(name):
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
