"""Reading: question answering over paragraphs (SQuAD, with unanswerable questions SQuAD v2) and QNLI.

Phenomena: a paragraph tells of two subjects of the same kind, so that a question must be bound to the right one, often
through a pronoun; roles that share a type (moved from one town to another, teacher and pupil); statements in active and
passive; questions in other words than the text. Unanswerable questions ask one subject for what is told of the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from random import Random
from string import Formatter
from typing import Any

from plmc.data.embedded.draw import Row
from plmc.data.embedded.records import TOPICS, Fact, Subject, Topic, invent

Span = tuple[int, int]


@cache
def _pieces(template: str) -> tuple[tuple[str, str | None], ...]:
    """Literal text and the slot after it, in order."""
    return tuple((literal, slot) for literal, slot, _, _ in Formatter().parse(template))


@cache
def _slots(statement: str) -> tuple[str, ...]:
    return tuple(sorted({slot for _, slot in _pieces(statement) if slot} - {"it", "its"}))


@dataclass(frozen=True)
class Record:
    """A fact of a subject, with its slots filled."""

    subject: Subject
    fact: Fact
    values: Mapping[str, str]

    def state(self, rng: Random, *, named: bool) -> tuple[str, dict[str, Span]]:
        """A clause and where its values are; the subject goes by its name (once) or by its pronoun."""
        text, spans = "", {}
        for literal, slot in _pieces(rng.choice(self.fact.statements)):
            text += literal
            if slot in ("it", "its"):
                who = self.subject
                long, short = (who.name, who.pronoun) if slot == "it" else (who.of_name, who.possessive)
                text, named = text + (long if named else short), False
            elif slot:
                spans[slot] = len(text), len(text) + len(self.values[slot])
                text += self.values[slot]
        return text, spans

    def ask(self, slot: str, rng: Random, *, subject: Subject | None = None) -> str:
        """A question for `slot`, about this subject or about another one."""
        return rng.choice(self.fact.questions[slot]).format(name=(subject or self.subject).name, **self.values)

    def slot(self, rng: Random) -> str:
        return rng.choice(list(self.fact.questions))


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _record(subject: Subject, fact: Fact, rng: Random, used: set[str]) -> Record:
    """Fills the slots; a value occurs once in the text, unless its vocabulary is used up."""
    values: dict[str, str] = {}
    for slot in _slots(fact.statements[0]):
        kind = slot.split("_")[0]
        for _ in range(20):
            value = invent(kind, rng)
            if value not in values.values() and not any(value in old or old in value for old in used):
                break
        values[slot] = value
        used.add(value)
    return Record(subject, fact, values)


def _subjects(topic: Topic, rng: Random) -> tuple[Subject, Subject]:
    one = two = topic.subject(rng)
    while two.name == one.name:
        two = topic.subject(rng)
    return one, two


def _paragraph(told: list[Record], rng: Random) -> tuple[str, list[dict[str, Span]]]:
    """One sentence a record; a subject is named when it comes up, then mostly goes by its pronoun."""
    text, spans, previous = "", [], None
    for record in told:
        clause, found = record.state(rng, named=record.subject != previous or rng.random() < 0.3)
        start = len(text) + bool(text)
        text += (" " if text else "") + _capital(clause) + "."
        spans.append({slot: (start + first, start + last) for slot, (first, last) in found.items()})
        previous = record.subject
    return text, spans


def _reading(rng: Random, *, unanswerable: bool) -> Row:
    topic = rng.choice(TOPICS)
    one, two = _subjects(topic, rng)
    used = {one.name, two.name}
    own, others = rng.sample(topic.facts, rng.randint(3, 4)), rng.sample(topic.facts, rng.randint(2, 3))
    told = [_record(one, fact, rng, used) for fact in own]
    rivals = [_record(two, fact, rng, used) for fact in others]
    # A fact that is told of the rival only: asking it of the first subject has no answer in the text.
    missing = [record for record in rivals if record.fact not in own]
    if unanswerable and not missing:
        missing = [_record(two, rng.choice([f for f in topic.facts if f not in own]), rng, used)]
        rivals[-1:] = missing
    blocks = [told, rivals]
    if rng.random() < 0.5:
        blocks.reverse()
    records = [record for block in blocks for record in block]
    context, spans = _paragraph(records, rng)
    if unanswerable:
        asked = rng.choice(missing)
        question = asked.ask(asked.slot(rng), rng, subject=one)
        answers: dict[str, list[Any]] = {"text": [], "answer_start": []}
    else:
        place = records.index(rng.choice(told))
        slot = records[place].slot(rng)
        first, last = spans[place][slot]
        question, answers = records[place].ask(slot, rng), {"text": [context[first:last]], "answer_start": [first]}
    columns = {
        "key": blake2b(f"{question}\n{context}".encode(), digest_size=12).hexdigest(),
        "title": _capital(one.name),
        "text_a": question,
        "text_b": context,
        "answers": answers,
    }
    return Row(key=one.name, columns=columns)


def squad(rng: Random, label: int) -> Row:
    """A question that the paragraph answers; there is only one `label`."""
    return _reading(rng, unanswerable=False)


def squad_v2(rng: Random, label: int) -> Row:
    """Label 0 to 2: every third question has no answer in the paragraph."""
    return _reading(rng, unanswerable=label == 2)


def qnli(rng: Random, label: int) -> Row:
    """A question and a sentence; 0 entailment (the sentence answers it), 1 not entailment.

    A sentence that answers holds two facts more often than one that does not, as longer sentences would.
    """
    topic = rng.choice(TOPICS)
    one, two = _subjects(topic, rng)
    used = {one.name, two.name}
    fact, extra = rng.sample(topic.facts, 2)
    asked, rival = _record(one, fact, rng, used), _record(two, fact, rng, used)
    aside, rival_aside = _record(one, extra, rng, used), _record(two, extra, rng, used)
    if label == 0:
        parts = [asked] + [rng.choice((aside, rival_aside))] * (rng.random() < 0.65)
    else:
        parts = [rng.choice((rival, aside))] + [rival if rng.random() < 0.5 else rival_aside] * (rng.random() < 0.35)
        parts = [part for i, part in enumerate(parts) if part not in parts[:i]]
    rng.shuffle(parts)
    clauses = [part.state(rng, named=i == 0 or part.subject != parts[0].subject)[0] for i, part in enumerate(parts)]
    columns = {
        "text_a": asked.ask(asked.slot(rng), rng),
        "text_b": _capital(", and ".join(clauses)) + ".",
        "label": label,
    }
    return Row(key=one.name, columns=columns)


def passage(rng: Random, sentences: int) -> Row:
    """Running text about one subject."""
    topic = rng.choice(TOPICS)
    subject = topic.subject(rng)
    used = {subject.name}
    text, _ = _paragraph([_record(subject, fact, rng, used) for fact in rng.sample(topic.facts, sentences)], rng)
    return Row(key=subject.name, columns={"text_a": text})
