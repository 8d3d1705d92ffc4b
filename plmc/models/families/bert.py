"""BERT and its relatives."""

from plmc.models.families.base import DOWN, KEY, OUTPUT, QUERY, UP, VALUE, Family

_MATRICES = {
    QUERY: "attention.self.query",
    KEY: "attention.self.key",
    VALUE: "attention.self.value",
    OUTPUT: "attention.output.dense",
    UP: "intermediate.dense",
    DOWN: "output.dense",
}
_ADAPTERS = ("attention.output.dropout", "output.dropout")
_PROBABILITIES = ("attention.self.dropout",)

BERT = Family(
    name="BERT",
    types=("bert",),
    matrices=_MATRICES,
    adapters=_ADAPTERS,
    probabilities=_PROBABILITIES,
    language=lambda model, hidden: model.cls(hidden),
)
ROBERTA = Family(
    name="RoBERTa",
    types=("roberta", "xlm-roberta", "camembert"),
    matrices=_MATRICES,
    adapters=_ADAPTERS,
    probabilities=_PROBABILITIES,
    language=lambda model, hidden: model.lm_head(hidden),
)
ELECTRA = Family(
    name="ELECTRA",
    types=("electra",),
    matrices=_MATRICES,
    adapters=_ADAPTERS,
    probabilities=_PROBABILITIES,
    language=lambda model, hidden: model.generator_lm_head(model.generator_predictions(hidden)),
)
