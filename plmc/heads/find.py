"""The head of a model, from its config alone."""

from __future__ import annotations

from typing import Any

from plmc.heads.base import Head
from plmc.heads.classification import ClassificationHead, RegressionHead
from plmc.heads.span import SpanHead


def task_head(config: Any) -> Head:
    """The head of a task's model, from the names in `config.architectures`; classification where they name none.

    A model without a head, or with one over the vocabulary, is taken for a classifier: loading it says what it lacks.
    """
    if any(SpanHead.suffix in name for name in config.architectures or ()):
        return SpanHead()
    return RegressionHead() if config.num_labels == 1 else ClassificationHead()
