"""Acceptability (CoLA): minimal pairs, of which a row shows one side.

Phenomena: agreement across an attractor, verb forms after auxiliaries, argument structure, determiner and number, word
order, reflexives, negative polarity items ("No nurse has ever ..."), filled gaps and missing inversion in questions,
comparatives. Both sides of a pair use (nearly) the same words.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from plmc.data.embedded.draw import Row
from plmc.data.embedded.grammar import NUMBERS, adjuncts, clause, noun_phrase, plural, sentence, third_person
from plmc.data.embedded.lexicon import TOWN
from plmc.data.embedded.world import Event

_INTRANSITIVE = ("slept", "arrived", "vanished", "laughed", "sneezed", "complained", "fainted", "waited")
# Verbs that cannot do without an object; many of the lexicon's can ("the teacher helped").
_TRANSITIVE = tuple(
    "greeted thanked praised persuaded alerted rescued deceived insulted defeated welcomed convinced dismissed".split()
)
_STATES = ("tired", "late", "at home", "happy", "in the garden", "very busy", "ready to leave", "out of work")
_SCALES = (
    ("tall", "taller"),
    ("old", "older"),
    ("rich", "richer"),
    ("quiet", "quieter"),
    ("kind", "kinder"),
    ("strong", "stronger"),
)

Pair = tuple[str, str]
"""Acceptable and unacceptable form, without capital and full stop."""


def _agreement(event: Event, rng: Random) -> Pair:
    head, attractor = event.agent.noun.say(rng), event.patient.noun.say(rng)
    many = rng.random() < 0.5
    subject = f"the {plural(head) if many else head}"
    attractor = f"the {attractor if many else plural(attractor)}"
    link = rng.choice(
        (f"near {attractor}", f"who thanked {attractor}", f"in front of {attractor}", f"that {attractor} know")
    )
    if link.startswith("that") and many:
        link += "s"
    singular, several = rng.choice((("is", "are"), ("was", "were"), ("has been", "have been")))
    state = rng.choice(_STATES)
    right, wrong = (several, singular) if many else (singular, several)
    return f"{subject} {link} {right} {state}", f"{subject} {link} {wrong} {state}"


def _verb_form(event: Event, rng: Random) -> Pair:
    verb, agent, patient = event.action.say(rng), noun_phrase(event.agent, rng), noun_phrase(event.patient, rng)
    rest = adjuncts(event, rng)
    right, wrong = rng.choice(
        (
            (f"did not {verb.base}", f"did not {third_person(verb.base)}"),
            (f"has {verb.participle}", f"has {verb.base}"),
            (f"will {verb.base}", f"will {verb.participle}"),
            (f"wanted to {verb.base}", f"wanted to {third_person(verb.base)}"),
            (f"could not {verb.base}", f"could not to {verb.base}"),
        )
    )
    return f"{agent} {right} {patient}{rest}", f"{agent} {wrong} {patient}{rest}"


def _arguments(event: Event, rng: Random) -> Pair:
    agent, patient, rest = noun_phrase(event.agent, rng), noun_phrase(event.patient, rng), adjuncts(event, rng)
    verb, lone = rng.choice(_TRANSITIVE), rng.choice(_INTRANSITIVE)
    if rng.random() < 0.5:
        return f"{agent} {verb} {patient}{rest}", f"{agent} {verb}{rest}"
    return f"{agent} {lone} beside {patient}{rest}", f"{agent} {lone} {patient}{rest}"


def _determiner(event: Event, rng: Random) -> Pair:
    one = event.patient.noun.say(rng)
    many, number = plural(one), NUMBERS[rng.randint(2, 9)]
    right, wrong = rng.choice(
        (
            (f"{number} {many}", f"{number} {one}"),
            (f"each {one}", f"each {many}"),
            (f"several {many}", f"several {one}"),
            (f"another {one}", f"another {many}"),
            (f"this {one}", f"these {one}"),
            (f"those {many}", f"that {many}"),
        )
    )
    verb, agent, rest = event.action.say(rng).past, noun_phrase(event.agent, rng), adjuncts(event, rng)
    return f"{agent} {verb} {right}{rest}", f"{agent} {verb} {wrong}{rest}"


def _order(event: Event, rng: Random) -> Pair:
    words = clause(replace(event, patient=replace(event.patient, count=1)), rng, passive=rng.random() < 0.4).split()
    spots = [i for i, word in enumerate(words[:-1]) if word == "the"]
    spot, damaged = rng.choice(spots), list(words)
    if rng.random() < 0.5:
        damaged[spot], damaged[spot + 1] = damaged[spot + 1], damaged[spot]
    else:
        del damaged[spot]
        damaged.insert(rng.choice([i for i in range(1, len(words)) if i not in (spot, spot + 1)]), "the")
    return " ".join(words), " ".join(damaged)


def _reflexive(event: Event, rng: Random) -> Pair:
    many, one = plural(event.agent.noun.say(rng)), event.patient.noun.say(rng)
    verb, self_ = (
        rng.choice(("blamed", "hurt", "admired", "introduced", "prepared", "taught")),
        rng.choice(("himself", "herself")),
    )
    subject = rng.choice(
        (f"the {many} behind the {one}", f"the {many} who knew the {one}", f"both {many}", f"most of the {many}")
    )
    rest = adjuncts(event, rng)
    return f"{subject} {verb} themselves{rest}", f"{subject} {verb} {self_}{rest}"


def _polarity(event: Event, rng: Random) -> Pair:
    noun, verb, patient = event.agent.noun.say(rng), event.action.say(rng), noun_phrase(event.patient, rng)
    licensed, bare = rng.choice((("no", "every"), ("not a single", "a single"), ("hardly any", "almost every")))
    if rng.random() < 0.5:
        return (
            f"{licensed} {noun} has ever {verb.participle} {patient}",
            f"{bare} {noun} has ever {verb.participle} {patient}",
        )
    return (
        f"{bare} {noun} has already {verb.participle} {patient}",
        f"{bare} {noun} has {verb.participle} {patient} yet",
    )


def _question(event: Event, rng: Random) -> Pair:
    verb, agent, patient = event.action.say(rng), noun_phrase(event.agent, rng), noun_phrase(event.patient, rng)
    word = rng.choice(("when", "where", "why"))
    return rng.choice(
        (
            (f"who did {agent} {verb.base} at the party?", f"who did {agent} {verb.base} {patient} at the party?"),
            (f"{word} did {agent} {verb.base} {patient}?", f"{word} {agent} did {verb.base} {patient}?"),
            (f"{word} was {patient} {verb.participle}?", f"{word} {patient} was {verb.participle}?"),
            (f"I know {word} {agent} {verb.past} {patient}", f"I know {word} did {agent} {verb.base} {patient}"),
        )
    )


def _comparative(event: Event, rng: Random) -> Pair:
    agent, patient = noun_phrase(event.agent, rng), f"the {event.patient.noun.say(rng)}"
    scale, more = rng.choice(_SCALES)
    right, wrong = rng.choice(
        (
            (f"as {scale} as", f"as {scale} than"),
            (f"no {more} than", f"no {more} as"),
            (f"too {scale} for", f"too {scale} than"),
            (f"much {more} than", f"much {scale} than"),
        )
    )
    return f"{agent} is {right} {patient}", f"{agent} is {wrong} {patient}"


_PHENOMENA = (
    _agreement,
    _agreement,
    _verb_form,
    _arguments,
    _determiner,
    _order,
    _reflexive,
    _polarity,
    _question,
    _comparative,
)


def cola(rng: Random, label: int) -> Row:
    """One sentence; 0 unacceptable, 1 acceptable."""
    phenomenon = rng.choice(_PHENOMENA)
    event = TOWN.event(rng, personal=True, adjuncts=0.4)
    text = phenomenon(event, rng)[1 - label]
    finished = sentence(text, "") if text.endswith("?") else sentence(text)
    nouns = (event.agent.noun, event.patient.noun)
    key = "|".join(sorted(str(noun) for noun in nouns if any(form in text for form in noun.forms)))
    return Row(key=key, columns={"text_a": finished, "label": label})
