"""MPNet: BERT with one table of biases by distance, which belongs to heads and so keeps them."""

from plmc.models.families.base import DOWN, KEY, OUTPUT, QUERY, UP, VALUE, Family

MPNET = Family(
    name="MPNet",
    types=("mpnet",),
    matrices={
        QUERY: "attention.attn.q",
        KEY: "attention.attn.k",
        VALUE: "attention.attn.v",
        OUTPUT: "attention.attn.o",
        UP: "intermediate.dense",
        DOWN: "output.dense",
    },
    adapters=("attention.dropout", "output.dropout"),
    probabilities=("attention.attn.dropout",),
    language=lambda model, hidden: model.lm_head(hidden),
    heads=False,
    interface=False,
)
