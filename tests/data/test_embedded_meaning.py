"""The labels of the made-up world mean what they say: identities of its generators."""

from __future__ import annotations

import re
from random import Random

import pytest

from plmc.data.embedded import Embedded
from plmc.data.embedded.acceptability import _PHENOMENA, cola
from plmc.data.embedded.grammar import indefinite, plural, statement, third_person
from plmc.data.embedded.lexicon import HARBOUR, TOWN
from plmc.data.embedded.pairs import similarity
from plmc.data.embedded.sentiment import _ADJECTIVES, _QUALITIES, sst2
from plmc.data.embedded.world import change, changeable
from plmc.tasks.base import Task


def test_inflection():
    assert [plural(noun) for noun in ("diary", "watchman", "wrench", "cod", "nurse")] == (
        ["diaries", "watchmen", "wrenches", "cod", "nurses"]
    )
    assert [third_person(verb) for verb in ("carry", "bring back", "teach")] == ["carries", "brings back", "teaches"]
    assert [indefinite(noun) for noun in ("apple", "nurse", "old map")] == ["an apple", "a nurse", "an old map"]


@pytest.mark.parametrize("genre", [TOWN, HARBOUR])
def test_genres_keep_meanings_apart(genre):
    """No form has two meanings, or a synonym could turn a paraphrase into something else."""
    traits = genre.person_traits, genre.thing_traits
    for pool in (genre.people + genre.things, genre.deeds, genre.works, genre.places, *traits):
        forms = [form for concept in pool for form in concept.forms]
        assert len(set(forms)) == len(forms)


def test_genres_share_no_nouns():
    nouns = [{form for c in genre.people + genre.things for form in c.forms} for genre in (TOWN, HARBOUR)]
    assert not nouns[0] & nouns[1]


def test_every_change_is_a_change_and_similarity_counts_it():
    rng = Random(0)
    for _ in range(300):
        event = TOWN.event(rng, adjuncts=1.0)
        assert similarity(event, event) == 5
        for fact in changeable(event, TOWN):
            altered = change(event, fact, TOWN, rng)
            assert altered != event
            assert similarity(event, altered) == similarity(altered, event) < 5
            if fact in ("action", "place", "time"):
                assert similarity(event, altered) == 4


def test_swapped_roles_need_word_order():
    rng = Random(0)
    event = TOWN.event(rng, personal=True, adjuncts=0, traits=0)
    swapped = change(event, "roles", TOWN, rng)
    told = [{statement(side, rng).lower().strip(".") for _ in range(500)} for side in (event, swapped)]
    assert not told[0] & told[1]
    bags = [{tuple(sorted(text.split())) for text in side} for side in told]
    assert bags[0] == bags[1]


def test_acceptable_and_unacceptable_differ():
    rng = Random(0)
    for phenomenon in _PHENOMENA:
        for _ in range(300):
            right, wrong = phenomenon(TOWN.event(rng, personal=True, adjuncts=0.4), rng)
            assert right != wrong


def test_no_sentence_is_both_acceptable_and_not():
    rng = Random(0)
    sides = [{cola(rng, label).columns["text_a"] for _ in range(4000)} for label in (0, 1)]
    assert not sides[0] & sides[1]


def test_reviews_take_words_of_both_polarities_in_every_place():
    """The same draw for the other label is the same review with good and bad words exchanged: no device is a cue."""
    polar = re.compile("|".join(rf"\b{word}\b" for words in (*_ADJECTIVES, *_QUALITIES) for word in words))
    for seed in range(500):
        good, bad = (sst2(Random(seed), label).columns["text_a"] for label in (1, 0))
        assert good != bad
        assert polar.sub("...", good) == polar.sub("...", bad)


def test_reviews_are_of_the_length_of_reviews():
    lengths = [len(sst2(Random(seed), seed % 2).columns["text_a"].split()) for seed in range(500)]
    assert 8 <= sum(lengths) / len(lengths) <= 18


@pytest.mark.parametrize("name", ["squad", "squad_v2"])
def test_answers_stand_where_they_should(name):
    rows = Embedded(train_rows=600, validation_rows=50, test_rows=50).load(Task(name=name))["train"]
    empty = 0
    for row in rows:
        found, starts = row["answers"]["text"], row["answers"]["answer_start"]
        assert len(found) == len(starts) <= 1
        for answer, start in zip(found, starts, strict=True):
            assert answer and row["text_b"][start : start + len(answer)] == answer
        subject = row["title"].removeprefix("The ")
        assert subject in row["text_a"] and subject in row["text_b"]
        empty += not found
    assert empty == (200 if name == "squad_v2" else 0)
    assert len(set(rows["key"])) == len(rows)


def test_unanswerable_questions_look_answerable():
    """The kind of value asked for stands in the text, of the other subject, in most paragraphs."""
    rows = Embedded(train_rows=600, validation_rows=1, test_rows=1).load(Task(name="squad_v2"))["train"]
    asked = [row for row in rows if not row["answers"]["text"] and row["text_a"].startswith(("When", "In which year"))]
    assert len(asked) > 20
    assert all(any(word.strip(".,").isdigit() for word in row["text_b"].split()) for row in asked)
