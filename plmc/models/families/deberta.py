"""DeBERTa-v2 and v3: attention to positions goes through the matrices of query and key, so heads stay whole."""

from typing import Any

from plmc.models.families.base import DOWN, KEY, OUTPUT, QUERY, UP, VALUE, Family


def _language(model: Any, hidden: Any) -> Any:
    if getattr(model, "legacy", True):
        return model.cls(hidden)
    return model.lm_predictions(hidden, model.deberta.embeddings.word_embeddings)


DEBERTA = Family(
    name="DeBERTa-v2 and v3",
    types=("deberta-v2",),
    matrices={
        QUERY: "attention.self.query_proj",
        KEY: "attention.self.key_proj",
        VALUE: "attention.self.value_proj",
        OUTPUT: "attention.output.dense",
        UP: "intermediate.dense",
        DOWN: "output.dense",
    },
    adapters=("attention.output.dropout", "output.dropout"),
    probabilities=("attention.self.dropout",),
    language=_language,
    heads=False,
    interface=False,
)
