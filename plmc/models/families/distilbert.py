"""DistilBERT."""

from typing import Any

from plmc.models.families.base import DOWN, KEY, OUTPUT, QUERY, UP, VALUE, Family


def _language(model: Any, hidden: Any) -> Any:
    return model.vocab_projector(model.vocab_layer_norm(model.activation(model.vocab_transform(hidden))))


DISTILBERT = Family(
    name="DistilBERT",
    types=("distilbert",),
    stack="transformer.layer",
    matrices={
        QUERY: "attention.q_lin",
        KEY: "attention.k_lin",
        VALUE: "attention.v_lin",
        OUTPUT: "attention.out_lin",
        UP: "ffn.lin1",
        DOWN: "ffn.lin2",
    },
    adapters=("attention", "ffn"),
    probabilities=("attention.dropout",),
    width="hidden_dim",
    language=_language,
    head_dropout=False,
)
