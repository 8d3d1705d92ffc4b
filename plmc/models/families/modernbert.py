"""ModernBERT (also Ettin's encoders): matrices in one, gated feed-forward layers, attention near by in most blocks."""

from plmc.models.families.base import ATTENTION, DOWN, GATED, OUTPUT, Family

MODERNBERT = Family(
    name="ModernBERT",
    types=("modernbert",),
    stack="layers",
    matrices={ATTENTION: "attn.Wqkv", OUTPUT: "attn.Wo", GATED: "mlp.Wi", DOWN: "mlp.Wo"},
    adapters=("attn", "mlp"),
    probabilities=("attn.out_drop",),
    language=lambda model, hidden: model.decoder(model.head(hidden)),
    heads=False,
    units=False,
    first=True,
)
