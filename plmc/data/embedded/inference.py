"""Inference between two sentences: entailment, neutral, contradiction (MNLI) and two-way with longer premises (RTE).

Phenomena: monotonicity of quantifiers over hypernyms ("No musician" -> "No violinist", but "Some violinist" -> "Some
musician"), negation, paraphrase with dropped or added adjuncts, role swaps (neutral), numbers, transitive comparison,
implicative verbs ("forgot to", "did not fail to", "hoped to"), order in time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import NamedTuple

from plmc.data.embedded.draw import Maker, Row
from plmc.data.embedded.grammar import NUMBERS, adjuncts, clause, indefinite, noun_phrase, plural, sentence, statement
from plmc.data.embedded.lexicon import TOWN
from plmc.data.embedded.world import Entity, Genre, change

ENTAILMENT, NEUTRAL, CONTRADICTION = range(3)
_DEGREES = (
    ("taller", "shorter"),
    ("older", "younger"),
    ("richer", "poorer"),
    ("stronger", "weaker"),
    ("faster", "slower"),
)
# What each says about its complement: it happened, it did not, or nothing.
_IMPLICATIVES = {
    ENTAILMENT: (
        "managed to",
        "was forced to",
        "did not fail to",
        "did not hesitate to",
        "did not forget to",
        "dared to",
    ),
    CONTRADICTION: ("forgot to", "failed to", "refused to", "did not manage to", "did not dare to", "was too proud to"),
    NEUTRAL: ("hoped to", "tried to", "promised to", "wanted to", "was asked to", "did not want to", "was afraid to"),
}


class Problem(NamedTuple):
    premise: str
    hypothesis: str
    key: str


def _quantified(genre: Genre, rng: Random, label: int) -> Problem:
    person, thing = rng.choice(genre.people), rng.choice(genre.things)
    action = rng.choice(genre.works)
    verb, again = action.say(rng), action.say(rng)
    place = rng.choice(genre.places).say(rng)
    who, whom = person.say(rng), indefinite(thing.say(rng))
    kind, thing_kind = person.kind, indefinite(thing.kind)
    stranger = rng.choice([p for p in genre.people if p.kind != kind]).say(rng)
    subject, object_, premise, hypotheses = rng.choice(
        (
            (
                kind,
                thing,
                f"every {kind} {verb.past} {whom} {place}",
                (
                    (f"every {who} {again.past} {whom} {place}", f"every {who} {again.past} {thing_kind}"),
                    (
                        f"every {stranger} {again.past} {whom} {place}",
                        f"every {kind} {again.past} {indefinite(genre.below(thing.kind, rng, but=thing).say(rng))}",
                    ),
                    (f"no {who} {again.past} {whom} {place}", f"some {who} did not {again.base} {thing_kind}"),
                ),
            ),
            (
                person,
                thing,
                f"some {who} {verb.past} {whom} {place}",
                (
                    (f"some {kind} {again.past} {whom} {place}", f"some {kind} {again.past} {thing_kind}"),
                    (f"every {who} {again.past} {whom} {place}", f"some {who} did not {again.base} {whom}"),
                    (f"no {kind} {again.past} {whom} {place}", f"no {who} {again.past} {thing_kind}"),
                ),
            ),
            (
                kind,
                thing.kind,
                f"no {kind} {verb.past} {thing_kind} {place}",
                (
                    (f"no {who} {again.past} {thing_kind} {place}", f"no {who} {again.past} {whom} {place}"),
                    (f"no {kind} {again.past} {thing_kind}", f"some {kind} {again.past} {whom}"),
                    (f"some {who} {again.past} {whom} {place}", f"some {kind} {again.past} {whom} {place}"),
                ),
            ),
            (
                person,
                thing,
                f"no {who} {verb.past} {whom} {place}",
                (
                    (
                        f"not every {kind} {again.past} {whom} {place}",
                        f"some {kind} did not {again.base} {whom} {place}",
                    ),
                    (f"no {kind} {again.past} {whom} {place}", f"some {kind} {again.past} {whom} {place}"),
                    (f"every {kind} {again.past} {whom} {place}", f"some {who} {again.past} {whom} {place}"),
                ),
            ),
        )
    )
    return Problem(sentence(premise), sentence(rng.choice(hypotheses[label])), f"{subject}|{action}|{object_}")


def _general(entity: Entity, rng: Random) -> str:
    """The entity by its class: `a medical worker`."""
    return indefinite(entity.noun.kind) if rng.random() < 0.6 else f"the {entity.noun.kind}"


def _told(genre: Genre, rng: Random, label: int) -> Problem:
    event = replace(genre.event(rng, adjuncts=0.7, traits=0.2), negated=rng.random() < 0.3)
    event = replace(event, patient=replace(event.patient, count=1))
    plain = replace(event, place=None) if rng.random() < 0.5 else replace(event, time=None)
    verb = event.action.say(rng)
    if label == CONTRADICTION:
        # Dropping an adjunct keeps the contradiction only where the denial is about everything that happened.
        target = replace(event if event.negated else plain, negated=not event.negated)
        hypothesis = statement(target, rng)
    elif event.negated:
        added = replace(
            event, time=event.time or rng.choice(genre.times), place=event.place or rng.choice(genre.places)
        )
        changed = change(event, rng.choice(("agent", "patient", "action")), genre, rng)
        hypothesis = statement(added if label == ENTAILMENT else changed, rng)
    elif label == ENTAILMENT:
        general = f"{_general(event.agent, rng)} {verb.past} {noun_phrase(event.patient, rng)}{adjuncts(plain, rng)}"
        hypothesis = sentence(general) if rng.random() < 0.5 else statement(plain, rng)
    else:
        facts = ["agent", "patient", "action"] + ["roles"] * (4 * genre.is_person(event.patient))
        changed = change(plain, rng.choice(facts), genre, rng)
        hypothesis = statement(replace(changed, negated=rng.random() < 0.2), rng)
    return Problem(statement(event, rng), hypothesis, event.key)


def _counted(genre: Genre, rng: Random, label: int) -> Problem:
    event = genre.event(rng, personal=False, adjuncts=0.5, traits=0)
    number, agent, thing = rng.randint(4, 9), noun_phrase(event.agent, rng), event.patient.noun.say(rng)
    verb, again = event.action.say(rng).past, event.action.say(rng).past
    place, things = adjuncts(event, rng), plural(thing)
    bound = rng.random() < 0.4
    low, high = NUMBERS[number - rng.randint(1, 2)], NUMBERS[number + rng.randint(1, 3)]
    if bound:
        premise = f"{agent} {verb} at least {NUMBERS[number]} {things}{place}"
        hypotheses = (
            (f"{agent} {again} more than {low} {things}{place}", f"{agent} {again} at least {low} {things}{place}"),
            (
                f"{agent} {again} exactly {NUMBERS[number]} {things}{place}",
                f"{agent} {again} more than {high} {things}{place}",
            ),
            (
                f"{agent} {again} fewer than {NUMBERS[number]} {things}{place}",
                f"{agent} {again} exactly {low} {things}{place}",
            ),
        )
    else:
        premise = f"{agent} {verb} exactly {NUMBERS[number]} {things}{place}"
        trait = rng.choice(genre.thing_traits).say(rng)
        hypotheses = (
            (f"{agent} {again} more than {low} {things}{place}", f"{agent} {again} fewer than {high} {things}{place}"),
            (
                f"{agent} {again} more than {low} {trait} {things}{place}",
                f"{agent} {again} exactly {NUMBERS[number]} {trait} {things}",
            ),
            (f"{agent} {again} more than {high} {things}{place}", f"{agent} {again} fewer than {low} {things}{place}"),
        )
    return Problem(sentence(premise), sentence(rng.choice(hypotheses[label])), event.key)


def _compared(genre: Genre, rng: Random, label: int) -> Problem:
    one, two, three = rng.sample(genre.people, 3)
    (more, less), (a, b, c) = rng.choice(_DEGREES), (f"the {person.say(rng)}" for person in (one, two, three))
    if rng.random() < 0.5:
        more, less = less, more
    chain = rng.choice(
        (f"{a} is {more} than {b}, who is {more} than {c}", f"{b} is {more} than {c} but {less} than {a}")
    )
    if label == NEUTRAL:
        chain = rng.choice((f"{a} is {more} than {b}, and so is {c}", f"both {a} and {c} are {more} than {b}"))
    right, wrong = (
        (f"{a} is {more} than {c}", f"{c} is {less} than {a}"),
        (f"{c} is {more} than {a}", f"{a} is {less} than {c}"),
    )
    options = (right, right + wrong, wrong)[label]
    return Problem(sentence(chain), sentence(rng.choice(options)), "|".join(sorted(map(str, (one, two, three)))))


def _implied(genre: Genre, rng: Random, label: int) -> Problem:
    event = genre.event(rng, adjuncts=0.4, traits=0.1)
    happened = rng.random() < 0.5
    signature = label if label == NEUTRAL else label if happened else CONTRADICTION - label
    verb, agent = event.action.say(rng), noun_phrase(event.agent, rng)
    patient, rest = noun_phrase(event.patient, rng), adjuncts(event, rng)
    premise = f"{agent} {rng.choice(_IMPLICATIVES[signature])} {verb.base} {patient}{rest}"
    hypothesis = replace(event, negated=not happened)
    return Problem(sentence(premise), statement(hypothesis, rng), event.key)


def _ordered(genre: Genre, rng: Random, label: int) -> Problem:
    first, second = genre.event(rng, adjuncts=0, traits=0.1), genre.event(rng, adjuncts=0, traits=0.1)
    one, two = clause(first, rng), clause(second, rng)
    premise = rng.choice((f"{one} before {two}", f"before {two}, {one}", f"{two} after {one}", f"after {one}, {two}"))
    if label == NEUTRAL:
        second = change(second, rng.choice(("agent", "patient", "action")), genre, rng)
    one, two = clause(first, rng), clause(second, rng, passive=rng.random() < 0.3)
    if label == CONTRADICTION or (label == NEUTRAL and rng.random() < 0.5):
        one, two = two, one
    return Problem(sentence(premise), sentence(rng.choice((f"{one} before {two}", f"{two} after {one}"))), first.key)


_PHENOMENA: tuple[Callable[[Genre, Random, int], Problem], ...] = (
    _quantified,
    _quantified,
    _told,
    _told,
    _told,
    _counted,
    _compared,
    _implied,
    _ordered,
)


def mnli(genre: Genre = TOWN) -> Maker:
    """Maker of premises and hypotheses in one genre; 0 entailment, 1 neutral, 2 contradiction."""

    def make(rng: Random, label: int) -> Row:
        problem = rng.choice(_PHENOMENA)(genre, rng, label)
        return Row(key=problem.key, columns={"text_a": problem.premise, "text_b": problem.hypothesis, "label": label})

    return make


def rte(rng: Random, label: int) -> Row:
    """A premise among other news, and a hypothesis; 0 entailment, 1 not entailment."""
    problem = rng.choice(_PHENOMENA)(TOWN, rng, ENTAILMENT if label == 0 else rng.choice((NEUTRAL, CONTRADICTION)))
    aside = statement(TOWN.event(rng, adjuncts=0.6), rng)
    parts = (problem.premise, aside) if rng.random() < 0.5 else (aside, problem.premise)
    return Row(key=problem.key, columns={"text_a": " ".join(parts), "text_b": problem.hypothesis, "label": label})
