"""Encyclopaedia records of invented towns, firms, people and ships: facts, their statements, questions for them.

In a statement `{it}` and `{its}` are the subject of the record (its name or a pronoun), all other braces are slots. A
slot is named `kind` or `kind_n`; its kind says what may fill it. In a question `{name}` is the subject.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

_FIRST = {
    "she": "Ada Berta Clara Dora Edith Flora Greta Hilda Irma Johanna Klara Lena Martha Nora Paula Rosa".split(),
    "he": "Albert Bruno Carl Daniel Emil Frank Georg Henry Igor Jonas Kurt Leo Max Oscar Peter Rudolf".split(),
}
_LAST = (
    "Renn Halvard Coppin Marsh Teller Brandt Okoro Lindell Vasari Novak Petit Moreau Sato Duarte Kessler Hume "
    "Farrow Quist Abbott Tamm Ferro Wilde Strand Baptiste Kowal Rossi Lund Achterberg Dunmore Silva"
).split()
_TOWN_HEADS = "Vel Tarn Hol Bram Ost Kirk Mar Stell Fen Grim Wal Ash Lor Dun Elm Nor Sand Thorn Brack Cold".split()
_TOWN_TAILS = "mora wick stead burg ford haven dale mouth ton field by minster".split()
_COLOURS = "Silver Golden Northern Restless Lonely Proud Early White Crimson Wandering Last Quiet".split()
_BEARERS = "Gull Star Heron Lady Otter Crown Falcon Pilgrim Lantern Dolphin Rose Swan".split()
_FILLERS = {
    "disaster": "flood,fire,storm,hurricane,landslide".split(","),
    "building": "town hall,old bridge,cathedral,market hall,lighthouse,railway station".split(","),
    "goods": "salt,wool,timber,glass,paper,copper,wine,tea,coal,honey,silk,tobacco".split(","),
    "trade": "baker,lawyer,brewer,farmer,printer,surgeon,tanner,schoolteacher".split(","),
    "river": "Orn,Teel,Brisk,Lauter,Wend,Sarre,Mirr,Kell".split(","),
    "field": "botany,geometry,astronomy,chemistry,music theory,philology,geology,anatomy".split(","),
    "cause": "a collision,a heavy storm,an explosion,a fire on board,a navigation error".split(","),
    "device": "bicycles,clocks,pianos,typewriters,telescopes,stoves,umbrellas,locks,sewing machines".split(","),
}


def invent(kind: str, rng: Random) -> str:
    """A value for a slot of this kind."""
    if kind == "year":
        return str(rng.randint(1702, 1989))
    if kind == "number":
        return f"{rng.randint(1, 90)},{rng.randint(0, 9)}00"
    if kind == "dozens":
        return str(rng.randint(21, 99))
    if kind == "person":
        return f"{rng.choice(_FIRST[rng.choice(('he', 'she'))])} {rng.choice(_LAST)}"
    if kind == "town":
        return rng.choice(_TOWN_HEADS) + rng.choice(_TOWN_TAILS)
    if kind == "firm":
        return f"{rng.choice(_LAST)} {rng.choice(('Works', 'and Sons', 'Brothers', 'Company'))}"
    if kind == "ship":
        return f"{rng.choice(_COLOURS)} {rng.choice(_BEARERS)}"
    if kind == "book":
        return (
            f"On {rng.choice(('the Nature of', 'the Origin of', 'the Use of'))} {rng.choice(_FILLERS['goods']).title()}"
        )
    return rng.choice(_FILLERS[kind])


@dataclass(frozen=True)
class Fact:
    """A fact: statements without full stop, and questions by the slot they ask for."""

    statements: tuple[str, ...]
    questions: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Topic:
    """A kind of record. `name_kind` fills its name; `pronouns` are (it, its), None for people, who bring their own."""

    name_kind: str
    pronouns: tuple[str, str] | None
    facts: tuple[Fact, ...]

    def subject(self, rng: Random) -> Subject:
        if self.pronouns is None:
            pronoun = rng.choice(("he", "she"))
            name = f"{rng.choice(_FIRST[pronoun])} {rng.choice(_LAST)}"
            return Subject(name, pronoun, {"he": "his", "she": "her"}[pronoun])
        name = invent(self.name_kind, rng)
        return Subject(f"the {name}" if self.name_kind == "ship" else name, *self.pronouns)


@dataclass(frozen=True)
class Subject:
    name: str
    pronoun: str
    possessive: str

    @property
    def of_name(self) -> str:
        """The name as a possessive: `Velmora's`, `Tarn Works'`."""
        return self.name + ("'" if self.name.endswith("s") else "'s")


_TOWNS = Topic(
    "town",
    ("it", "its"),
    (
        Fact(
            ("{it} was founded in {year} by {person}", "in {year}, {person} founded {it}"),
            {
                "year": ("When was {name} founded?", "In which year did {person} found {name}?"),
                "person": ("Who founded {name}?", "By whom was {name} founded?"),
            },
        ),
        Fact(
            ("a {disaster} destroyed {its} {building} in {year}", "{its} {building} fell to a {disaster} in {year}"),
            {
                "year": (
                    "When was the {building} of {name} destroyed?",
                    "In what year did {name} lose its {building}?",
                ),
                "disaster": ("What destroyed the {building} of {name}?", "What kind of disaster hit {name} in {year}?"),
                "building": ("What did the {disaster} destroy in {name}?", "Which building did {name} lose in {year}?"),
            },
        ),
        Fact(
            ("{its} {building} was rebuilt by {person} in {year}", "in {year}, {person} rebuilt {its} {building}"),
            {
                "person": (
                    "Who rebuilt the {building} of {name}?",
                    "Which architect restored the {building} of {name}?",
                ),
                "year": ("When was the {building} of {name} rebuilt?", "When did {name} get its {building} back?"),
            },
        ),
        Fact(
            ("{it} has {number} inhabitants", "{number} people live in {it}"),
            {"number": ("How many people live in {name}?", "What is the population of {name}?")},
        ),
        Fact(
            ("{its} people sell {goods} and buy {goods_2}", "{its} people buy {goods_2} and sell {goods}"),
            {
                "goods": ("What do the people of {name} sell?", "Which goods does {name} export?"),
                "goods_2": ("What do the people of {name} buy?", "Which goods does {name} import?"),
            },
        ),
        Fact(
            ("{its} first mayor was {person}, a {trade}", "{person}, a {trade}, was {its} first mayor"),
            {
                "person": ("Who was the first mayor of {name}?", "Who was the first to govern {name}?"),
                "trade": (
                    "What had the first mayor of {name} been?",
                    "What was the trade of the first mayor of {name}?",
                ),
            },
        ),
        Fact(
            ("{it} lies on the {river}, {dozens} miles from the coast", "{it} lies {dozens} miles up the {river}"),
            {
                "river": ("On which river does {name} lie?", "What river flows through {name}?"),
                "dozens": ("How far is {name} from the coast?", "How many miles inland is {name}?"),
            },
        ),
    ),
)

_FIRMS = Topic(
    "firm",
    ("it", "its"),
    (
        Fact(
            ("{it} was opened in {year} by {person}", "{person} opened {it} in {year}"),
            {
                "year": ("When was {name} opened?", "In what year was {name} established?"),
                "person": ("Who opened {name}?", "Who established {name}?"),
            },
        ),
        Fact(
            ("{it} moved from {town} to {town_2} in {year}", "in {year}, {it} moved to {town_2} from {town}"),
            {
                "town": ("Where was {name} before it moved?", "Which town did {name} leave?"),
                "town_2": ("Where did {name} move?", "Which town became the new home of {name}?"),
                "year": ("When did {name} leave {town}?", "In which year did {name} move to {town_2}?"),
            },
        ),
        Fact(
            ("{it} makes {device} but no longer {device_2}", "{it} used to make {device_2} and now makes {device}"),
            {
                "device": ("What does {name} make today?", "What is the current product of {name}?"),
                "device_2": ("What did {name} make in the past?", "What has {name} stopped making?"),
            },
        ),
        Fact(
            ("{it} employs {number} people", "{number} people work for {it}"),
            {"number": ("How many people does {name} employ?", "How many employees does {name} have?")},
        ),
        Fact(
            ("{it} bought {firm} in {year}", "{firm} was taken over by {it} in {year}"),
            {
                "firm": ("Which firm did {name} take over?", "What company was bought by {name}?"),
                "year": ("When did {name} buy {firm}?", "In which year was {firm} taken over by {name}?"),
            },
        ),
        Fact(
            (
                "{person} followed {person_2} as {its} director",
                "as {its} director, {person_2} was followed by {person}",
            ),
            {
                "person": ("Who replaced {person_2} at {name}?", "Who was the later director of {name}?"),
                "person_2": ("Whom did {person} replace at {name}?", "Who was the earlier director of {name}?"),
            },
        ),
    ),
)

_PEOPLE = Topic(
    "person",
    None,
    (
        Fact(
            ("{it} was born in {town} in {year}", "in {year}, {it} was born in {town}"),
            {
                "town": ("Where was {name} born?", "What is the birthplace of {name}?"),
                "year": ("When was {name} born?", "What is the year of birth of {name}?"),
            },
        ),
        Fact(
            ("{it} studied {field} with {person}", "{person} was {its} teacher of {field}"),
            {
                "person": ("Who taught {name} {field}?", "Who was the teacher of {name}?"),
                "field": ("What did {name} learn from {person}?", "Which subject did {name} study?"),
            },
        ),
        Fact(
            ("{it} later taught {person} {field}", "{person} later learned {field} as {its} pupil"),
            {
                "person": ("Whom did {name} teach?", "Who was a pupil of {name}?"),
                "field": ("Which subject did {name} teach?", "What did {person} learn from {name}?"),
            },
        ),
        Fact(
            ("{its} book {book} came out in {year}", "{it} published {book} in {year}"),
            {
                "book": ("What is the title of the book by {name}?", "What did {name} publish?"),
                "year": ("When was the book by {name} published?", "In what year did {name} publish {book}?"),
            },
        ),
        Fact(
            ("{it} left {town} for {town_2} in {year}", "in {year}, {it} moved to {town_2} from {town}"),
            {
                "town": ("Where did {name} live before {year}?", "Which town did {name} leave?"),
                "town_2": ("Where did {name} move?", "Which town did {name} move to?"),
            },
        ),
        Fact(
            ("{it} died in {town} at the age of {dozens}", "aged {dozens}, {it} died in {town}"),
            {
                "town": ("Where did {name} die?", "What was the place of death of {name}?"),
                "dozens": ("How old did {name} become?", "At what age did {name} die?"),
            },
        ),
    ),
)

_SHIPS = Topic(
    "ship",
    ("it", "its"),
    (
        Fact(
            ("{it} was built in {town} by {firm}", "{firm} built {it} in {town}"),
            {
                "town": ("Where was {name} built?", "In which town was {name} constructed?"),
                "firm": ("Who built {name}?", "Which firm constructed {name}?"),
            },
        ),
        Fact(
            (
                "{it} carried {goods} from {town} to {town_2}",
                "{it} went to {town_2} from {town} with a load of {goods}",
            ),
            {
                "goods": ("What did {name} carry?", "What was the cargo of {name}?"),
                "town": ("Where did {name} come from?", "What was the port of departure of {name}?"),
                "town_2": ("Where did {name} go?", "What was the destination of {name}?"),
            },
        ),
        Fact(
            ("{it} sank in {year} after {cause}", "after {cause}, {it} sank in {year}"),
            {
                "year": ("When did {name} sink?", "In which year was {name} lost?"),
                "cause": ("What made {name} sink?", "Why was {name} lost?"),
            },
        ),
        Fact(
            ("{its} captain was {person}, {its} cook {person_2}", "{person_2} was {its} cook, {person} {its} captain"),
            {
                "person": ("Who commanded {name}?", "Who was the captain of {name}?"),
                "person_2": ("Who cooked on {name}?", "Who was the cook of {name}?"),
            },
        ),
        Fact(
            ("{it} had a crew of {dozens}", "{dozens} sailors served on {it}"),
            {"dozens": ("How many sailors served on {name}?", "How large was the crew of {name}?")},
        ),
    ),
)

TOPICS = (_TOWNS, _FIRMS, _PEOPLE, _SHIPS)
