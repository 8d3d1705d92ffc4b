"""Every head of the product, by its kind."""

from plmc.heads.base import Head
from plmc.heads.classification import ClassificationHead, RegressionHead
from plmc.heads.masked_lm import MaskedLMHead
from plmc.heads.span import SpanHead

HEADS: dict[str, Head] = {
    head.kind: head for head in (ClassificationHead(), RegressionHead(), SpanHead(), MaskedLMHead())
}
