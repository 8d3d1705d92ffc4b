"""Which family of models can do what: the table of docs/families.md, each cell of which a test runs."""

from __future__ import annotations

from plmc.models.families.find import FAMILIES

TYPES = {family.name: family.types[0] for family in FAMILIES}
TEXT = ("recipe.stages.distil.task.corpus=embedded", "recipe.stages.distil.task.rows=60")
LAYERS = "recipe.stages.intermediate.methods.layers"
ROWS: dict[str, tuple[str, ...]] = {
    "fine-tuned, distilled on logits, half of the layers": ("recipe=kd",),
    "hidden states distilled": (
        "recipe=tinybert",
        f"{LAYERS}.attention=0",
        "recipe.stages.intermediate.methods.augment=null",
        "recipe.stages.prediction.methods.augment=null",
    ),
    "attention scores distilled": (
        "recipe=tinybert",
        "recipe.stages.intermediate.methods.augment=null",
        "recipe.stages.prediction.methods.augment=null",
    ),
    "masked language model (`distilbert`)": ("recipe=distilbert", *TEXT),
    "weights pruned": ("recipe=kd", "method=[gmp]", "methods.gmp.final=0.8"),
    "heads cut out": ("recipe=finetune", "student=same", "method=[head_prune]"),
    "feed-forward units cut out": ("recipe=finetune", "student=same", "method=[ffn_prune]"),
    "layers dropped": ("recipe=layer_drop", "student=same"),
    "vocabulary trimmed": ("recipe=finetune", "student=same", "method=[vocab_trim]"),
    "8-bit training": ("recipe=qat", "student=same"),
    "noise, averaging, SAM": ("recipe=finetune", "method=[hype,swa,sam]"),
    "BitFit": ("recipe=bitfit", "student=same"),
    "LoRA": ("recipe=lora", "student=same"),
    "adapters": ("recipe=adapter", "student=same"),
    "prefix": ("recipe=prefix", "student=same"),
    "shape from scratch": (
        "recipe=kd",
        "student=scratch",
        "student.shape.width=24",
        "student.shape.heads=2",
        "student.shape.layers=2",
        "student.shape.intermediate=40",
    ),
    "ONNX in 8 bits, verified": ("recipe=kd", "quantize=int8"),
}
# Where a cell is not yes: what the refusal says. Everything is refused before any training but for scores, which are
# asked for by fields.
_SELF = "computes attention by itself"
NO: dict[tuple[str, str], str] = {
    ("attention scores distilled", "MPNet"): _SELF,
    ("attention scores distilled", "DeBERTa-v2 and v3"): _SELF,
    ("prefix", "MPNet"): "attention cannot be exchanged",
    ("prefix", "DeBERTa-v2 and v3"): "attention cannot be exchanged",
    ("heads cut out", "MPNet"): "no heads can be cut",
    ("heads cut out", "DeBERTa-v2 and v3"): "no heads can be cut",
    ("heads cut out", "ModernBERT"): "no heads can be cut",
    ("feed-forward units cut out", "ModernBERT"): "no feed-forward units can be cut",
}


def table() -> str:
    """The table in Markdown."""
    names = [family.name for family in FAMILIES]
    lines = ["| | works with | refused for |", "|---|---|---|"]
    for row in ROWS:
        not_so = [name for name in names if (row, name) in NO]
        works = ", ".join(name for name in names if name not in not_so) if not_so else "all"
        lines.append(f"| {row} | {works} | {', '.join(not_so)} |")
    return "\n".join(lines)
