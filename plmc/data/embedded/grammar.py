"""Realisation: inflection, noun phrases, active and passive clauses, fronted adjuncts, questions."""

from __future__ import annotations

from random import Random

from plmc.data.embedded.world import Action, Entity, Event

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_IRREGULAR = {"fish": "fish", "salmon": "salmon", "herring": "herring", "cod": "cod", "trout": "trout"}


def plural(noun: str) -> str:
    """`watchman` -> `watchmen`, `diary` -> `diaries`."""
    if noun in _IRREGULAR:
        return _IRREGULAR[noun]
    if noun.endswith("man"):
        return noun[:-3] + "men"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


def third_person(verb: str) -> str:
    """`carry` -> `carries`; a particle stays behind the verb: `bring back` -> `brings back`."""
    head, _, particle = verb.partition(" ")
    return (plural(head) if not head.endswith("man") else head + "s") + (f" {particle}" if particle else "")


def indefinite(words: str) -> str:
    """`old nurse` -> `an old nurse`."""
    return ("an " if words[0] in "aeiou" and not words.startswith(("uni", "one", "use")) else "a ") + words


def sentence(text: str, end: str = ".") -> str:
    return text[0].upper() + text[1:] + end


def bare(entity: Entity, rng: Random) -> str:
    """Noun phrase without determiner: `tall nurse`, `red vans`."""
    noun = entity.noun.say(rng)
    noun = plural(noun) if entity.count > 1 else noun
    return f"{entity.trait.say(rng)} {noun}" if entity.trait else noun


def noun_phrase(entity: Entity, rng: Random) -> str:
    """`the tall nurse`, `seven red vans`."""
    return f"the {bare(entity, rng)}" if entity.count == 1 else f"{NUMBERS[entity.count]} {bare(entity, rng)}"


def adjuncts(event: Event, rng: Random, *, skip: str = "") -> str:
    """Place and time in either order, with a leading blank."""
    given = {"place": event.place, "time": event.time}
    parts = [concept.say(rng) for name, concept in given.items() if concept and name != skip]
    if len(parts) > 1 and rng.random() < 0.5:
        parts.reverse()
    return "".join(f" {part}" for part in parts)


def predicate(action: Action, rng: Random, *, passive: bool, plural_subject: bool, negated: bool) -> str:
    """`thanked`, `did not thank`, `were not thanked by`."""
    verb = action.say(rng)
    if passive:
        return f"{'were' if plural_subject else 'was'} {'not ' if negated else ''}{verb.participle} by"
    return f"did not {verb.base}" if negated else verb.past


def core(event: Event, rng: Random, *, passive: bool) -> str:
    """The clause without its adjuncts."""
    first, last = (event.patient, event.agent) if passive else (event.agent, event.patient)
    verb = predicate(event.action, rng, passive=passive, plural_subject=first.count > 1, negated=event.negated)
    return f"{noun_phrase(first, rng)} {verb} {noun_phrase(last, rng)}"


def clause(event: Event, rng: Random, *, passive: bool = False, front: bool = False) -> str:
    """One event as a clause; `front` moves the time, or else the place, to its beginning."""
    if front and (moved := event.time or event.place):
        name = "time" if event.time else "place"
        return f"{moved.say(rng)} {core(event, rng, passive=passive)}{adjuncts(event, rng, skip=name)}"
    return core(event, rng, passive=passive) + adjuncts(event, rng)


def statement(event: Event, rng: Random) -> str:
    """One event as a sentence in a random one of its paraphrases."""
    return sentence(clause(event, rng, passive=rng.random() < 0.4, front=rng.random() < 0.3))


def question(event: Event, asked: str, rng: Random, *, person: bool) -> str:
    """Asks for `agent`, `patient`, `place`, `time`, `reason` or `manner` of an event, in a random paraphrase.

    Args:
        person: the patient is somebody, not something.
    """
    verb, agent, patient = event.action.say(rng), noun_phrase(event.agent, rng), noun_phrase(event.patient, rng)
    was = "were" if event.patient.count > 1 else "was"
    rest = adjuncts(event, rng, skip=asked)
    opening = rng.choice(("do you know", "can you tell me", "does anybody know"))
    if asked == "agent":
        forms = (
            f"who {verb.past} {patient}{rest}",
            f"by whom {was} {patient} {verb.participle}{rest}",
            f"{opening} who {verb.past} {patient}{rest}",
        )
    elif asked == "patient":
        forms = (
            f"{'whom' if person else 'what'} did {agent} {verb.base}{rest}",
            f"{'who' if person else 'what'} was {verb.participle} by {agent}{rest}",
            f"{opening} {'whom' if person else 'what'} {agent} {verb.past}{rest}",
        )
    else:
        words = {
            "place": ("where", "in what place"),
            "time": ("when", "at what time"),
            "reason": ("why", "for what reason"),
            "manner": ("how", "in what way"),
        }
        word = rng.choice(words[asked])
        forms = (
            f"{word} did {agent} {verb.base} {patient}{rest}",
            f"{word} {was} {patient} {verb.participle} by {agent}{rest}",
            f"{opening} {word} {agent} {verb.past} {patient}{rest}",
        )
    return sentence(rng.choice(forms), "?")
