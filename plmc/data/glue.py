"""What GLUE fixes of its tasks (Wang et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Facts:
    """What GLUE fixes of a task: text columns (the Hub's names), official metrics, classes in the order of their ids.

    The first metric is the default for choosing the best weights.
    """

    columns: tuple[str, ...]
    metrics: tuple[str, ...]
    labels: tuple[str, ...] = ()


_PAIR = ("sentence1", "sentence2")
_NLI = ("entailment", "neutral", "contradiction")
_ENTAILED = ("entailment", "not_entailment")
GLUE = {
    "cola": Facts(("sentence",), ("matthews",), ("unacceptable", "acceptable")),
    "sst2": Facts(("sentence",), ("accuracy",), ("negative", "positive")),
    "mrpc": Facts(_PAIR, ("f1", "accuracy"), ("not_equivalent", "equivalent")),
    "stsb": Facts(_PAIR, ("spearman", "pearson")),
    "qqp": Facts(("question1", "question2"), ("f1", "accuracy"), ("not_duplicate", "duplicate")),
    "mnli": Facts(("premise", "hypothesis"), ("accuracy",), _NLI),
    "qnli": Facts(("question", "sentence"), ("accuracy",), _ENTAILED),
    "rte": Facts(_PAIR, ("accuracy",), _ENTAILED),
    "wnli": Facts(_PAIR, ("accuracy",), _ENTAILED[::-1]),
    "ax": Facts(("premise", "hypothesis"), ("matthews",), _NLI),
}
