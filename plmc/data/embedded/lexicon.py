"""The vocabularies: a town, and a harbour that shares no profession, object, place or trait with it.

Entries are separated by commas, synonyms by slashes, irregular verb forms by colons.
"""

from __future__ import annotations

from plmc.data.embedded.world import Action, Concept, Genre, Verb


def _concepts(text: str, kind: str = "") -> tuple[Concept, ...]:
    return tuple(Concept(tuple(form.strip() for form in entry.split("/")), kind) for entry in text.split(","))


def _kinds(table: dict[str, str]) -> tuple[Concept, ...]:
    return tuple(concept for kind, text in table.items() for concept in _concepts(text, kind))


def _verb(text: str) -> Verb:
    parts = text.strip().split(":")
    if len(parts) > 1:
        return Verb(parts[0], parts[1], parts[-1])
    base = parts[0]
    if base.endswith("e"):
        past = base + "d"
    elif base.endswith("y") and base[-2] not in "aeiou":
        past = base[:-1] + "ied"
    else:
        past = base + "ed"
    return Verb(base, past, past)


def _actions(text: str) -> tuple[Action, ...]:
    return tuple(Action(tuple(_verb(form) for form in entry.split("/"))) for entry in text.split(","))


_TIMES = _concepts(
    "on Monday, on Tuesday, on Wednesday, on Thursday, on Friday, on Saturday, on Sunday, in the morning, "
    "in the evening, at noon/at midday, at midnight, at dawn/at daybreak, at dusk/at nightfall"
)

TOWN = Genre(
    people=_kinds(
        {
            "medical worker": "nurse, doctor/physician, surgeon, dentist, pharmacist/chemist",
            "musician": "violinist/fiddler, pianist, drummer, guitarist, cellist",
            "artisan": "potter, carpenter/joiner, weaver, tailor, blacksmith/smith",
            "scholar": "historian, linguist, philosopher/thinker, botanist, physicist",
            "athlete": "swimmer, runner, wrestler, gymnast, cyclist",
            "official": "mayor, judge, inspector, clerk, senator",
            "artist": "painter, sculptor, poet, actor, dancer",
        }
    ),
    things=_kinds(
        {
            "fruit": "apple, pear, plum, melon, lemon",
            "tool": "hammer, saw, drill, chisel, wrench/spanner",
            "vehicle": "van, bicycle/bike, tram, lorry/truck, scooter",
            "garment": "coat, glove, jacket, sweater/pullover, skirt",
            "instrument": "piano, flute, drum, harp, trumpet",
            "document": "letter, contract/agreement, report, map, diary/journal",
        }
    ),
    deeds=_actions(
        "thank, help/assist, phone/call, praise/commend, scold/reprimand, follow/trail, hire/employ, "
        "notice/spot:spotted, dismiss/fire, rescue/save, mock/ridicule, convince/persuade, warn/alert, "
        "greet/welcome, deceive/fool, hug:hugged/embrace, visit, insult/offend, teach:taught/instruct, "
        "defeat/beat:beat:beaten"
    ),
    works=_actions(
        "buy:bought/purchase, sell:sold, repair/fix, carry, steal:stole:stolen, break:broke:broken/smash, "
        "find:found/discover, hide:hid:hidden/conceal, clean, inspect/examine, choose:chose:chosen/select, "
        "borrow, lose:lost/misplace, return/bring back:brought back, draw:drew:drawn/sketch, destroy/wreck"
    ),
    places=_concepts(
        "in the market, at the station, in the library, near the bridge/close to the bridge, in the garden, "
        "beside the bakery/next to the bakery, opposite the museum/across from the museum, outside the school, "
        "behind the theatre, on the main square, in the park, inside the town hall/in the town hall"
    ),
    times=_TIMES,
    person_traits=_concepts(
        "tall, old/elderly, young, tired/weary, famous/well-known, rich/wealthy, angry/furious, nervous/anxious, "
        "quiet/silent, careful/cautious, clever/smart, rude/impolite"
    ),
    thing_traits=_concepts(
        "large/big, small/little, expensive/costly, cheap/inexpensive, heavy, red, blue, green, dirty/filthy, new, "
        "strange/odd"
    ),
)

HARBOUR = Genre(
    people=_kinds(
        {
            "sailor": "captain/skipper, helmsman, boatswain, deckhand, navigator",
            "trader": "merchant, fishmonger, broker, auctioneer, importer",
            "guard": "coastguard, customs officer, watchman/sentry, warden, patrolman",
            "engineer": "mechanic, electrician, welder, shipwright/shipbuilder, machinist",
        }
    ),
    things=_kinds(
        {
            "vessel": "ferry, tugboat/tug, trawler, yacht, barge",
            "fish": "salmon, herring, cod, trout, mackerel",
            "container": "crate, barrel/cask, bucket/pail, sack/bag, chest",
            "device": "compass, radio, lantern/lamp, pump, telescope",
        }
    ),
    deeds=_actions(
        "thank, help/assist, rescue/save, warn/alert, hire/employ, pay:paid, chase/pursue, arrest/detain, "
        "question/interrogate, blame/accuse, trust, recognise/identify, envy, obey, bribe, shelter/protect"
    ),
    works=_actions(
        "buy:bought/purchase, sell:sold, repair/fix, inspect/examine, load, lift/raise, weigh, seize/confiscate, "
        "sink:sank:sunk, abandon/desert, tow, store, drop:dropped, measure, polish, deliver"
    ),
    places=_concepts(
        "on the pier/on the jetty, at the lighthouse, in the warehouse/in the storehouse, on the beach/on the shore, "
        "near the crane, in the dry dock, outside the tavern/outside the inn, beyond the breakwater"
    ),
    times=_TIMES,
    person_traits=_concepts(
        "brave/courageous, lazy/idle, strong, cheerful/merry, foreign, greedy, stubborn, friendly/kind"
    ),
    thing_traits=_concepts("wet/soaked, rusty, grey, long, light, damaged, valuable/precious, empty"),
)
