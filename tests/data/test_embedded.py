"""The made-up world: sizes, types, determinism, balance, held-out texts, and no solution by words alone."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from plmc.data.embedded import Embedded
from plmc.data.embedded.draw import Row, draw
from plmc.data.embedded.makers import KINDS
from plmc.data.embedded.probe import bag_of_words
from plmc.errors import ConfigError
from plmc.tasks.base import Task

PAIRS = ("mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli")
CLASSIFICATION = {"cola": 2, "sst2": 2, "mrpc": 2, "qqp": 2, "mnli": 3, "qnli": 2, "rte": 2, "wnli": 2}


def load(name: str, train: int = 600, evaluation: int = 200, seed: int = 0):
    return Embedded(seed=seed, train_rows=train, validation_rows=evaluation, test_rows=evaluation).load(Task(name=name))


def texts(split) -> list[tuple[str, ...]]:
    return list(zip(*(split[name] for name in ("text_a", "text_b") if name in split.column_names), strict=True))


@pytest.mark.parametrize("name", KINDS)
def test_columns_and_types(name):
    splits = load(name, 120, 60)
    extra = ["validation_mismatched"] if name == "mnli" else []
    assert list(splits) == ["train", "validation", *extra, "test"]
    for split, rows in splits.items():
        assert len(rows) == (120 if split == "train" else 60)
        assert rows["id"][:] == list(range(len(rows)))
        assert rows.features["id"].dtype == "int64"
        if not name.startswith("squad"):
            assert set(rows.column_names) == {"id", "text_a", "label"} | ({"text_b"} if name in PAIRS else set())
            assert rows.features["label"].dtype == ("float32" if name == "stsb" else "int64")
        else:
            assert set(rows.column_names) == {"id", "key", "title", "text_a", "text_b", "answers"}


@pytest.mark.parametrize("name", KINDS)
def test_the_seed_decides_and_shorter_is_a_prefix(name):
    one, again, longer, other = load(name, 80, 40), load(name, 80, 40), load(name, 120, 40), load(name, 80, 40, seed=1)
    assert one["train"][:] == again["train"][:]
    assert one["train"][:] == longer["train"][:80]
    assert one["validation"][:] == longer["validation"][:]
    assert texts(one["train"]) != texts(other["train"])


@pytest.mark.parametrize("name", KINDS)
def test_no_text_twice_and_none_in_two_splits(name):
    splits = {split: texts(rows) for split, rows in load(name).items()}
    for rows in splits.values():
        assert len(set(rows)) == len(rows)
    train = set(splits.pop("train"))
    for rows in splits.values():
        assert not train & set(rows)
    assert not set(splits["validation"]) & set(splits["test"])


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_labels_are_balanced(name):
    for rows in load(name, 301, 100).values():
        counts = Counter(rows["label"])
        assert sorted(counts) == list(range(CLASSIFICATION[name]))
        assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_words_alone_help_but_do_not_suffice(name):
    splits = Embedded(train_rows=3000, validation_rows=800, test_rows=1).load(Task(name=name))
    chance = 1 / CLASSIFICATION[name]
    # Four standard errors of 800 rows above chance at least; at most half of the way from chance to all right.
    assert chance + 0.035 < bag_of_words(splits["train"], splits["validation"]) < chance + 0.5 * (1 - chance)


def test_mismatched_has_another_vocabulary():
    splits = load("mnli", 1500, 300)
    words = {name: set(re.findall(r"\w+", " ".join(rows["text_a"]).lower())) for name, rows in splits.items()}
    assert len(words["validation"] - words["train"]) < 5
    assert len(words["validation_mismatched"] - words["train"]) > 100


def test_refuses_unknown_tasks_and_impossible_sizes():
    with pytest.raises(ConfigError, match=r"'ax'.*cola, sst2.*data=hub"):
        Embedded().load(Task(name="ax"))
    with pytest.raises(ConfigError, match="data.train_rows=0"):
        Embedded(train_rows=0)


def test_says_when_the_world_is_exhausted():
    def make(rng, label):
        word = rng.choice(("one", "two", "three", "four", "five", "six"))
        return Row(key=word, columns={"text_a": word, "label": label})

    with pytest.raises(
        ConfigError, match=r"holds about [1-6] different rows of tiny/train, not 7. Set data.train_rows="
    ):
        draw(make, classes=2, count=7, seed=0, stream="tiny/train", role="train")


def test_corpus_is_plain_text_of_the_training_share():
    source = Embedded(validation_rows=400, test_rows=1, train_rows=1)
    corpus = source.corpus(1000)
    assert len(set(corpus)) == 1000
    assert corpus[:50] == source.corpus(50)
    assert not set(corpus) & set(source.load(Task(name="sst2"))["validation"]["text_a"])
    with pytest.raises(ConfigError, match="at least one"):
        source.corpus(0)


def test_graded_similarity_uses_the_whole_scale():
    scores = np.array(load("stsb")["train"]["label"])
    assert scores.min() >= 0 and scores.max() == 5
    assert np.histogram(scores, bins=5, range=(0, 5))[0].min() > 50
