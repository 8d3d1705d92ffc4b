"""The suites that every method and every head must pass, and what is particular to ours."""

import numpy as np
import torch
from plmc_example.confidence_penalty import ConfidencePenalty
from plmc_example.label_smoothing import LabelSmoothing
from plmc_example.topics import Topics

from plmc.core.clock import Clock
from plmc.core.view import Outputs, View
from plmc.heads.classification import ClassificationHead
from plmc.testing import HeadRow, HeadSuite, MethodSuite, Row


class TestMethods(MethodSuite):
    rows = (
        Row("label_smoothing", LabelSmoothing, off=lambda: LabelSmoothing(weight=0)),
        Row("confidence_penalty", ConfidencePenalty, off=lambda: ConfidencePenalty(weight=0)),
    )


def test_uniform_answers_cost_least():
    """At equal logits the term is log C for each row, its minimum."""
    logits = torch.zeros(5, 4, requires_grad=True)
    view = View(ClassificationHead(), torch.zeros(5), torch.ones(5, 2), {}, Outputs((logits,)))
    loss = LabelSmoothing().losses(view, Clock(0, 1, 1))["uniform"]
    loss.sum().backward()
    torch.testing.assert_close(loss, torch.full((5,), 4.0).log())
    torch.testing.assert_close(logits.grad, torch.zeros_like(logits))


def test_an_even_answer_has_the_entropy_of_all_classes_and_a_sure_one_none():
    even, sure = torch.zeros(3, 4), torch.tensor([[100.0, 0.0, 0.0, 0.0]])
    for logits, expected in ((even, -torch.tensor(4.0).log()), (sure, torch.tensor(0.0))):
        view = View(ClassificationHead(), torch.zeros(1), torch.ones(1, 2), {}, Outputs((logits,)))
        torch.testing.assert_close(
            ConfidencePenalty().losses(view, Clock(0, 1, 1))["negative_entropy"].mean(), expected
        )


def formula(logits, batch):
    chances, gold = 1 / (1 + np.exp(-logits[0].astype(np.float64))), batch.labels.numpy()
    return float(-np.mean(gold * np.log(chances) + (1 - gold) * np.log(1 - chances)))


def micro_f1(records):
    names, hit, said, gold = Topics(name="topics").labels, 0, 0, 0
    for record in records:
        true = {name for name, mark in zip(names, record["label"], strict=True) if mark}
        hit, said, gold = (
            hit + len(true & set(record["prediction"])),
            said + len(record["prediction"]),
            gold + len(true),
        )
    return 2 * hit / (said + gold)


class TestHeads(HeadSuite):
    rows = (
        HeadRow(
            Topics(name="topics", max_length=16),
            {
                "id": [0, 1, 2, 3],
                "text_a": ["the cat sat", "a dog runs in the city", "what a film", "he is good"],
                "label": [[1, 0, 0, 1], [0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0]],
            },
            formula,
            micro_f1,
        ),
    )
