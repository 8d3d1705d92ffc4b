"""Pronoun resolution (WNLI): a sentence with a pronoun, and the same claim about one of the two it may stand for.

Every schema has a special word and its alternate; the alternate moves the pronoun to the other referent ("because it
was too large" / "too small"). Claims that hold of the second noun are more often true than false (65 to 35): the small
regularity of the words alone that real collections have, too.
"""

from __future__ import annotations

from random import Random

from plmc.data.embedded.draw import Row
from plmc.data.embedded.grammar import sentence
from plmc.data.embedded.lexicon import TOWN

_HOLDERS = tuple("suitcase,drawer,box,cupboard,basket,trunk,backpack,safe,cabinet,locker".split(","))
_HELD = tuple(
    "trophy,violin,vase,statue,painting,helmet,telescope,pillow,lamp,teapot,keyboard,globe,birdcage,kite,drum".split(
        ","
    )
)
_HARD = tuple("hammer,stone,brick,cannonball,anvil,crowbar,wrench,marble,paperweight,padlock".split(","))
_FRAGILE = tuple("vase,mirror,window,bottle,plate,cup,lantern,screen,jar,bowl,egg,lens".split(","))

# Statement with a pronoun {p} and a claim {c}; then the claims that make it a, and those that make it b.
_PEOPLE = (
    (
        "{a} thanked {b} because {p} had {c}",
        ("received help", "been given a present"),
        ("offered help", "brought a present"),
    ),
    ("{a} lent {b} some money because {p} was {c}", ("rich", "feeling generous"), ("poor", "out of work")),
    (
        "{a} asked {b} a question, but {p} {c}",
        ("did not get an answer", "was ignored"),
        ("did not answer", "ignored it"),
    ),
    ("{a} defeated {b} because {p} was {c}", ("faster", "better prepared"), ("slower", "badly prepared")),
    (
        "{a} visited {b} although {p} {c}",
        ("hated travelling", "had no time to travel"),
        ("lived far away", "disliked guests"),
    ),
    ("{a} envied {b} because {p} {c}", ("had failed", "had so little luck"), ("had succeeded", "was so famous")),
    (
        "{a} hired {b} because {p} {c}",
        ("needed an assistant", "could not do everything"),
        ("was looking for work", "had good references"),
    ),
    (
        "{a} waited for {b} because {p} {c}",
        ("had come too early", "had arrived first"),
        ("was late", "had missed the train"),
    ),
    (
        "{a} scolded {b} because {p} {c}",
        ("was in a bad mood", "had lost all patience"),
        ("had made a mistake", "had broken the rules"),
    ),
    (
        "{a} taught {b} to swim before {p} {c}",
        ("retired from teaching", "gave up teaching"),
        ("passed the exam", "learned to dive"),
    ),
    ("{a} paid {b} after {p} {c}", ("received the bill", "checked the bill"), ("delivered the goods", "sent the bill")),
    ("{a} apologised to {b} because {p} {c}", ("had been rude", "had told a lie"), ("had been insulted", "felt hurt")),
)
_FITS = (
    ("{a} does not fit into {b} because {p} is {c}", ("too large", "too wide"), ("too small", "too narrow")),
    (
        "{a} fits into {b} easily because {p} is {c}",
        ("small enough", "rather tiny"),
        ("large enough", "rather spacious"),
    ),
    ("we could not put {a} into {b} because {p} was {c}", ("too long", "too bulky"), ("already full", "locked")),
)
_BREAKS = (
    ("{a} fell on {b}, and {p} was {c}", ("unharmed", "still in one piece"), ("broken", "smashed to pieces")),
    ("{a} hit {b} so hard that {p} {c}", ("bounced back", "flew off again"), ("cracked", "broke")),
    ("{a} broke {b} because {p} was so {c}", ("heavy", "hard"), ("fragile", "thin")),
)


def wnli(rng: Random, label: int) -> Row:
    """A sentence and a claim; 0 not entailment, 1 entailment."""
    kind = rng.choices(("people", "fits", "breaks"), weights=(12, 3, 3))[0]
    if kind == "people":
        schema, (one, two) = rng.choice(_PEOPLE), rng.sample(TOWN.people, 2)
        first, second, pronoun = one.say(rng), two.say(rng), rng.choice(("he", "she"))
    else:
        schema = rng.choice(_FITS if kind == "fits" else _BREAKS)
        pools = (_HELD, _HOLDERS) if kind == "fits" else (_HARD, _FRAGILE)
        first, second, pronoun = rng.choice(pools[0]), rng.choice(pools[1]), "it"
    text, of_first, of_second = schema
    holds_of_second = rng.random() < (0.65 if label else 0.35)
    asks_second = holds_of_second if label else not holds_of_second
    claim = rng.choice(of_second if holds_of_second else of_first)
    referent = f"the {second if asks_second else first}"
    premise = text.format(a=f"the {first}", b=f"the {second}", p=pronoun, c=claim)
    frame = text.split("{p} ")[1].replace("{c}", claim).replace("so ", "")
    columns = {"text_a": sentence(premise), "text_b": sentence(f"{referent} {frame}"), "label": label}
    return Row(key=f"{first}|{second}", columns=columns)
