"""The family of a model."""

from __future__ import annotations

from typing import Any

from plmc.models.families.base import Family
from plmc.models.families.bert import BERT, ELECTRA, ROBERTA
from plmc.models.families.deberta import DEBERTA
from plmc.models.families.distilbert import DISTILBERT
from plmc.models.families.modernbert import MODERNBERT
from plmc.models.families.mpnet import MPNET

FAMILIES = (BERT, ROBERTA, DISTILBERT, ELECTRA, MPNET, DEBERTA, MODERNBERT)
USE = f"Use {', '.join(family.name for family in FAMILIES[:-1])} or {FAMILIES[-1].name}."


def of(source: Any) -> Family | None:
    """The family of a model or of a config; None for one that plmc does not know."""
    kind = getattr(getattr(source, "config", source), "model_type", None)
    return next((family for family in FAMILIES if kind in family.types), None)


def those_with(fact: str) -> str:
    """The families for which a fact of `Family` holds, for a message that names a way out."""
    names = [family.name for family in FAMILIES if getattr(family, fact)]
    return f"Use {', '.join(names[:-1])} or {names[-1]}."
