"""Which generator serves which task, and how many rows it makes unless told otherwise."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from plmc.data.embedded.acceptability import cola
from plmc.data.embedded.draw import Maker, Row
from plmc.data.embedded.grammar import statement
from plmc.data.embedded.inference import mnli, rte
from plmc.data.embedded.lexicon import HARBOUR, TOWN
from plmc.data.embedded.pairs import mrpc, qqp, stsb
from plmc.data.embedded.pronouns import wnli
from plmc.data.embedded.reading import passage, qnli, squad, squad_v2
from plmc.data.embedded.sentiment import sst2


class Kind(NamedTuple):
    """A task of the world: its generator, among how many labels rows are balanced, default sizes."""

    make: Maker
    classes: int
    train: int
    validation: int = 800
    test: int = 800


KINDS = {
    "cola": Kind(cola, 2, 6000),
    "sst2": Kind(sst2, 2, 4000),
    "mrpc": Kind(mrpc, 2, 4000),
    "qqp": Kind(qqp, 2, 6000),
    "stsb": Kind(stsb, 6, 4000),
    "mnli": Kind(mnli(), 3, 8000, 1000, 1000),
    "qnli": Kind(qnli, 2, 6000),
    "rte": Kind(rte, 2, 4000),
    "wnli": Kind(wnli, 2, 4000),
    "squad": Kind(squad, 1, 4000),
    "squad_v2": Kind(squad_v2, 3, 6000),
}

# Rows of a further validation split, in another vocabulary than the training rows.
MISMATCHED = {"mnli": KINDS["mnli"]._replace(make=mnli(HARBOUR))}


def plain(rng: Random, label: int) -> Row:
    """Text without a label; `label` chooses among its five sorts."""
    event = rng.choice((TOWN, HARBOUR)).event(rng)
    sorts = (
        lambda: sst2(rng, rng.randint(0, 1)),
        lambda: cola(rng, 1),
        lambda: Row(key=event.key, columns={"text_a": statement(event, rng)}),
        lambda: passage(rng, rng.randint(1, 2)),
        lambda: mrpc(rng, 1),
    )
    row = sorts[label]()
    return Row(key=row.key, columns={"text_a": row.columns["text_a"]})


PLAIN_SORTS = 5
