"""Pairs of sentences: paraphrase of statements (MRPC) and of questions (QQP), graded similarity (STS-B).

Phenomena: synonyms, active and passive, fronted adjuncts, `before` against `after`, direct and indirect questions,
converse comparisons. Near misses alter one fact, often without a new word: swapped roles, swapped traits, reversed
order of events or of a comparison.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from plmc.data.embedded.draw import Row
from plmc.data.embedded.grammar import clause, indefinite, question, sentence, statement
from plmc.data.embedded.lexicon import TOWN
from plmc.data.embedded.world import Entity, Event, change, changeable, other

_COMPARISONS = (
    ("better", "worse"),
    ("cheaper", "dearer"),
    ("older", "newer"),
    ("heavier", "lighter"),
    ("larger", "smaller"),
)
_LIMITS = (" without any help", " for free", " in winter", " without a licence", " on a Sunday", " at my age")
_INTENTS = (
    ("how do I {v} {n}", "what is the best way to {v} {n}", "how should one {v} {n}", "can you teach me to {v} {n}"),
    ("what does it cost to {v} {n}", "how much money do I need to {v} {n}", "how expensive is it to {v} {n}"),
    (
        "how long does it take to {v} {n}",
        "how much time do I need to {v} {n}",
        "how many hours does it take to {v} {n}",
    ),
    ("why do people {v} {n}", "what makes people {v} {n}", "for what reason would anyone {v} {n}"),
    ("where can I {v} {n}", "what is a good place to {v} {n}", "which place lets me {v} {n}"),
    ("is it legal to {v} {n}", "does the law allow me to {v} {n}", "am I permitted to {v} {n}"),
    ("why should nobody {v} {n}", "what is wrong with people who {v} {n}", "for what reason should I not {v} {n}"),
)


def _joined(first: Event, second: Event, rng: Random) -> str:
    """Two events in the order in which they happened, told in any order."""
    one, two = clause(first, rng, passive=rng.random() < 0.3), clause(second, rng, passive=rng.random() < 0.3)
    forms = (
        f"{one} before {two}",
        f"before {two}, {one}",
        f"{two} after {one}",
        f"after {one}, {two}",
        f"{one}, and then {two}",
    )
    return sentence(rng.choice(forms))


def mrpc(rng: Random, label: int) -> Row:
    """Two statements; 0 not equivalent, 1 equivalent."""
    event = TOWN.event(rng)
    told: tuple[Event, ...] = (event, TOWN.event(rng, adjuncts=0, traits=0)) if rng.random() < 0.3 else (event,)
    altered = told
    if not label:
        facts = changeable(event, TOWN)
        # Swaps keep the words, so they get more than their share.
        fact = rng.choice(
            facts + ["roles"] * (2 * ("roles" in facts)) + ["order"] * 3 * (len(told) > 1) + ["negation"] * 2
        )
        if fact == "order":
            altered = told[::-1]
        else:
            changed = replace(event, negated=True) if fact == "negation" else change(event, fact, TOWN, rng)
            altered = (changed, *told[1:])

    def tell(events: tuple[Event, ...]) -> str:
        return statement(events[0], rng) if len(events) == 1 else _joined(events[0], events[1], rng)

    first = tell(told)
    while (second := tell(altered)) == first:
        pass
    sides = [(first, told), (second, altered)]
    rng.shuffle(sides)
    return Row(key=sides[0][1][0].key, columns={"text_a": sides[0][0], "text_b": sides[1][0], "label": label})


Ask = tuple[str, str]
"""A question and the key of what it is about."""


def _advice(rng: Random, label: int) -> tuple[Ask, Ask]:
    action, thing, intent = rng.choice(TOWN.works), rng.choice(TOWN.things), rng.choice(_INTENTS)
    trait = rng.choice(TOWN.thing_traits) if rng.random() < 0.4 else None

    def ask(form: str, limit: str) -> Ask:
        noun = indefinite(f"{trait.say(rng)} {thing.say(rng)}" if trait else thing.say(rng))
        return sentence(form.format(v=action.say(rng).base, n=noun) + limit, "?"), f"{action}|{thing}"

    form, again = rng.sample(intent, 2)
    limit = rng.choice(_LIMITS) if label and rng.random() < 0.05 else ""
    first = ask(form, limit)
    if not label:
        changed = rng.choice(("intent", "action", "thing", "limit", "limit"))
        limit = rng.choice(_LIMITS) if changed == "limit" else ""
        again = rng.choice(other(rng, _INTENTS, intent)) if changed == "intent" else again
        action = other(rng, TOWN.works, action) if changed == "action" else action
        thing = other(rng, TOWN.things, thing) if changed == "thing" else thing
    return first, ask(again, limit)


def _compared(rng: Random, label: int) -> tuple[Ask, Ask]:
    one, two = rng.sample(TOWN.things, 2)
    more, less = rng.choice(_COMPARISONS)
    one_, two_ = indefinite(one.say(rng)), indefinite(two.say(rng))
    opening = rng.choice(("is", "in general, is", "would you say that"))
    verb = " is" if opening.startswith("would") else ""
    same = f"{opening} {two_}{verb} {less} than {one_}"
    differs = rng.choice((f"{opening} {one_}{verb} {less} than {two_}", f"{opening} {two_}{verb} {more} than {one_}"))
    key = "|".join(sorted((str(one), str(two))))
    return (sentence(f"is {one_} {more} than {two_}", "?"), key), (sentence(same if label else differs, "?"), key)


def _topic(event: Event, asked: str) -> str:
    """The key of an event without the part that is asked for."""
    parts = {"agent": event.agent.noun, "action": event.action, "patient": event.patient.noun}
    return "|".join(str(part) for name, part in parts.items() if name != asked)


def _who(rng: Random, label: int) -> tuple[Ask, Ask]:
    event, altered = TOWN.event(rng), None
    kinds = ["agent", "patient", "reason", "manner"] + ["place"] * bool(event.place) + ["time"] * bool(event.time)
    asked = again = rng.choice(kinds)
    if not label:
        facts = [
            f for f in changeable(event, TOWN) if f != asked and (f != "roles" or asked not in ("agent", "patient"))
        ]
        facts = [f for f in facts if f not in ("count", "traits") or asked not in ("agent", "patient")]
        if rng.random() < 0.25:
            again = other(rng, ("agent", "patient", "reason", "manner"), asked)
        elif asked in ("agent", "patient") and TOWN.is_person(event.patient) and rng.random() < 0.5:
            # `Who thanked the nurse?` against `Whom did the nurse thank?`: the same person, the other role.
            again, altered = ("patient" if asked == "agent" else "agent"), change(event, "roles", TOWN, rng)
        else:
            altered = change(event, rng.choice(facts + ["roles"] * (2 * ("roles" in facts))), TOWN, rng)
    person = TOWN.is_person(event.patient)
    first, form = question(event, asked, rng, person=person), altered or event
    while (second := question(form, again, rng, person=person)) == first:
        pass
    return (first, _topic(event, asked)), (second, _topic(form, again))


def qqp(rng: Random, label: int) -> Row:
    """Two questions; 0 not duplicate, 1 duplicate."""
    sides = list(rng.choice((_advice, _advice, _who, _who, _compared))(rng, label))
    rng.shuffle(sides)
    return Row(key=sides[0][1], columns={"text_a": sides[0][0], "text_b": sides[1][0], "label": label})


def _alike(one: Entity, two: Entity) -> float:
    """1 for the same entity, 3/4 if trait or number differ, 1/4 for a sister concept, 0 otherwise."""
    if one.noun == two.noun:
        return 1.0 if (one.trait, one.count) == (two.trait, two.count) else 0.75
    return 0.25 if one.noun.kind == two.noun.kind else 0.0


def similarity(one: Event, two: Event) -> float:
    """0 to 5: one point for each of agent, action, patient, place and time that both events share in the same role."""
    shared = (one.action == two.action) + (one.place == two.place) + (one.time == two.time)
    return float(shared + _alike(one.agent, two.agent) + _alike(one.patient, two.patient))


def stsb(rng: Random, label: int) -> Row:
    """Two statements and their similarity; `label` (0 to 5) is the number of facts left unchanged."""
    event = TOWN.event(rng, adjuncts=1.0)
    swap = label <= 3 and TOWN.is_person(event.patient) and rng.random() < 0.5
    altered = change(event, "roles", TOWN, rng) if swap else event
    facts = ["action", "place", "time"] if swap else ["agent", "action", "patient", "place", "time"]
    for fact in rng.sample(facts, 3 - label if swap else 5 - label):
        # Left out is as good as different, as long as the other side states it.
        drop = fact in ("place", "time") and rng.random() < 0.4
        altered = replace(altered, **dict.fromkeys([fact])) if drop else change(altered, fact, TOWN, rng)
    if rng.random() < 0.2:
        altered = replace(altered, agent=replace(altered.agent, trait=rng.choice(TOWN.person_traits)))
    sides = (event, altered) if rng.random() < 0.5 else (altered, event)
    texts = [statement(side, rng) for side in sides]
    columns = {"text_a": texts[0], "text_b": texts[1], "label": similarity(event, altered)}
    return Row(key=sides[0].key, columns=columns)
