"""Every head of the product, by its kind, and the settings of a stage without rows."""

from plmc.core.rows import TaskData
from plmc.core.setting import Building
from plmc.heads.base import Head
from plmc.heads.classification import ClassificationHead, RegressionHead
from plmc.heads.masked_lm import MaskedLMHead
from plmc.heads.span import SpanHead

HEADS: dict[str, Head] = {
    head.kind: head for head in (ClassificationHead(), RegressionHead(), SpanHead(), MaskedLMHead())
}


def building(*facts, **options) -> Building:
    """`Building` with nothing at hand but what is given."""
    return Building(*facts, **{"data": TaskData(None, {}, "custom"), "tokenizer": None, "encode": None, **options})
