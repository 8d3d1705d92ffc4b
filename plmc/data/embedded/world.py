"""What the made-up world consists of: concepts with interchangeable names, actions, entities and events."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import NamedTuple


class Verb(NamedTuple):
    """Three forms of a transitive verb."""

    base: str
    past: str
    participle: str


@dataclass(frozen=True)
class Concept:
    """One meaning: `forms` are its synonyms, `kind` the class above it (empty if it has none)."""

    forms: tuple[str, ...]
    kind: str = ""

    def say(self, rng: Random) -> str:
        return rng.choice(self.forms)

    def __str__(self) -> str:
        return self.forms[0]


@dataclass(frozen=True)
class Action:
    """A transitive verb and its synonyms."""

    forms: tuple[Verb, ...]

    def say(self, rng: Random) -> Verb:
        return rng.choice(self.forms)

    def __str__(self) -> str:
        return self.forms[0].base


@dataclass(frozen=True)
class Entity:
    """Somebody or something: a noun, perhaps a trait, and how many there are."""

    noun: Concept
    trait: Concept | None = None
    count: int = 1


@dataclass(frozen=True)
class Event:
    """Who did what to whom, where and when."""

    agent: Entity
    action: Action
    patient: Entity
    place: Concept | None = None
    time: Concept | None = None
    negated: bool = False

    @property
    def key(self) -> str:
        """The combination of contents that decides which split an event belongs to."""
        return f"{self.agent.noun}|{self.action}|{self.patient.noun}"


@dataclass(frozen=True)
class Genre:
    """One vocabulary of the world."""

    people: tuple[Concept, ...]
    things: tuple[Concept, ...]
    deeds: tuple[Action, ...]
    """What people do to people."""
    works: tuple[Action, ...]
    """What people do to things."""
    places: tuple[Concept, ...]
    times: tuple[Concept, ...]
    person_traits: tuple[Concept, ...]
    thing_traits: tuple[Concept, ...]

    def event(self, rng: Random, *, personal: bool | None = None, adjuncts: float = 0.5, traits: float = 0.3) -> Event:
        """A random event; `personal` fixes whether the patient is a person, the rest are chances."""
        personal = rng.random() < 0.6 if personal is None else personal
        if personal:
            nouns = rng.sample(self.people, 2)
            patient_traits, actions = self.person_traits, self.deeds
        else:
            nouns = [rng.choice(self.people), rng.choice(self.things)]
            patient_traits, actions = self.thing_traits, self.works
        agent_trait = rng.choice(self.person_traits) if rng.random() < traits else None
        patient_trait = rng.choice([t for t in patient_traits if t != agent_trait]) if rng.random() < traits else None
        return Event(
            agent=Entity(nouns[0], agent_trait),
            action=rng.choice(actions),
            patient=Entity(nouns[1], patient_trait, 1 if personal or rng.random() < 0.6 else rng.randint(2, 9)),
            place=rng.choice(self.places) if rng.random() < adjuncts else None,
            time=rng.choice(self.times) if rng.random() < adjuncts else None,
        )

    def is_person(self, entity: Entity) -> bool:
        return entity.noun in self.people

    def below(self, kind: str, rng: Random, *, but: Concept | None = None) -> Concept:
        """A member of `kind`, other than `but`."""
        return rng.choice([c for c in (*self.people, *self.things) if c.kind == kind and c != but])


def other(rng: Random, options: tuple, but: object):
    """A random one of `options` that is not `but`."""
    while (chosen := rng.choice(options)) == but:
        pass
    return chosen


def changeable(event: Event, genre: Genre) -> list[str]:
    """The facts of an event that `change` can alter."""
    facts = ["agent", "action", "patient"]
    facts += ["place"] * (event.place is not None) + ["time"] * (event.time is not None)
    facts += ["roles"] * genre.is_person(event.patient) + ["count"] * (event.patient.count > 1)
    facts += ["traits"] * (event.agent.trait != event.patient.trait and genre.is_person(event.patient))
    return facts


def change(event: Event, fact: str, genre: Genre, rng: Random) -> Event:
    """The event with one fact altered; `roles` and `traits` swap what agent and patient have and add no word."""
    agent, patient = event.agent, event.patient
    pool = genre.people if genre.is_person(patient) else genre.things
    if fact == "roles":
        return replace(event, agent=patient, patient=agent)
    if fact == "traits":
        return replace(event, agent=replace(agent, trait=patient.trait), patient=replace(patient, trait=agent.trait))
    if fact == "agent":
        people = tuple(p for p in genre.people if p != patient.noun)
        return replace(event, agent=replace(agent, noun=other(rng, people, agent.noun)))
    if fact == "patient":
        options = tuple(p for p in pool if p != agent.noun)
        return replace(event, patient=replace(patient, noun=other(rng, options, patient.noun)))
    if fact == "action":
        return replace(event, action=other(rng, genre.deeds if pool is genre.people else genre.works, event.action))
    if fact == "count":
        return replace(event, patient=replace(patient, count=other(rng, tuple(range(2, 10)), patient.count)))
    if fact == "place":
        return replace(event, place=other(rng, genre.places, event.place))
    return replace(event, time=other(rng, genre.times, event.time))
