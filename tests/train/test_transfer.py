"""The same encoder under another head."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from plmc.models import surgery
from plmc.models.encoder import base
from plmc.models.transfer import change_head, same_head
from plmc.tasks.glue import Glue, GlueRegression
from plmc.tasks.mlm import MaskedLM
from plmc.tasks.squad import Squad
from plmc.testing.stage import bert

RTE, QNLI, MNLI = (Glue(name=name) for name in ("rte", "qnli", "mnli"))
STSB, TEXT = GlueRegression(name="stsb"), MaskedLM()


def test_words_places_and_scores_are_of_no_task_and_classes_are_of_theirs():
    assert same_head(TEXT, replace(TEXT, smoothing=0.7, labels=[]))  # as a config has it
    assert same_head(Squad(name="squad"), Squad(name="squad_v2", version="2.0")) and same_head(STSB, STSB)
    assert same_head(RTE, replace(RTE, max_length=64))
    for first, second in ((RTE, QNLI), (RTE, MNLI), (RTE, STSB), (STSB, TEXT)):
        assert not same_head(first, second) and not same_head(second, first)


@pytest.mark.parametrize("task", [MNLI, STSB, TEXT, Squad(name="squad")], ids=lambda task: task.name)
@pytest.mark.parametrize("narrow", [False, True])
def test_the_encoder_is_the_same_and_the_head_that_of_the_task(task, narrow):
    model = bert(3)
    if narrow:  # blocks of other widths, which the library's configs cannot say
        for block, units in zip(surgery.feed_forward_linears(model), (20, 30), strict=True):
            surgery.cut([block[0]], block[1], slice(units))
        surgery.note(model)
    other = change_head(model, task, seed=5)
    assert type(other).__name__.endswith(task.head.suffix)
    before, after = base(model).state_dict(), base(other).state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items() if not name.startswith("pooler"))
    again = change_head(model, task, seed=5)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in other.state_dict().items())
