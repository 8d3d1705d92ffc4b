"""Sentiment of film reviews (SST-2): the clause that decides, after everything that turns it round.

Phenomena: negation and double negation ("not at all dull", "never fails to be dull"), contrast (the clause after `but`,
the main clause around `although`), reported and expected opinions ("those who call it dull are wrong"), counterfactuals
("could have been moving"), comparison ("more wit than noise"), and ellipsis ("the original was dull, and this one is
not"). Every device takes words of both polarities, so that words alone say little about the verdict.
"""

from __future__ import annotations

from random import Random

from plmc.data.embedded.draw import Row
from plmc.data.embedded.grammar import sentence

_ADJECTIVES = (
    "dull clumsy tedious shallow predictable lifeless bland muddled pompous tiresome stale sloppy cynical "
    "dreary hollow contrived forgettable grating incoherent lazy witless pretentious plodding trite cold "
    "laboured soulless crude dated monotonous".split(),
    "moving clever charming gripping witty tender inventive graceful vivid honest thrilling funny warm "
    "elegant fresh subtle absorbing touching delightful brilliant luminous exhilarating poignant engaging "
    "refreshing heartfelt memorable compelling stirring sincere".split(),
)
_QUALITIES = (
    "noise,padding,confusion,self-pity,clumsiness,cliche,vanity,boredom,sentimentality,bluster".split(","),
    "charm,wit,warmth,energy,insight,grace,tension,imagination,conviction,tenderness".split(","),
)
_TARGETS = (
    "the film,this comedy,the plot,the ending,the first act,the script,the dialogue,the lead performance,the score,"
    "this thriller,the camera work,the final scene,the direction,this portrait of a family,the documentary,"
    "the love story,the remake,the humour,the staging,the courtroom drama"
).split(",")
_DEGREES = (
    "",
    "",
    "rather ",
    "quite ",
    "truly ",
    "a little ",
    "remarkably ",
    "consistently ",
    "surprisingly ",
    "almost always ",
)
_DENIALS = (
    "not at all",
    "hardly",
    "anything but",
    "far from",
    "by no means",
    "never really",
    "not in the least",
    "nowhere near",
)
_OTHERS = (
    "the original",
    "the book",
    "the earlier version",
    "the trailer",
    "the director's last film",
    "the stage play",
)
_HEADS = ("I have to say that", "for what it is worth,", "to my mind", "from start to finish", "once again")
_TAILS = (
    "as everyone in the room agreed",
    "and that is all there is to say",
    "scene after scene",
    "at least to my mind",
)
_THIS = ("this one", "this film", "the new version", "what we see here")


class _Review:
    """One opinion under construction, with one adjective of each polarity: 0 negative, 1 positive."""

    def __init__(self, rng: Random):
        self.rng = rng
        self.used: list[str] = []
        """What the opinion is about and in what words."""
        self.adjectives = rng.choice(_ADJECTIVES[0]), rng.choice(_ADJECTIVES[1])

    def word(self, polarity: int) -> str:
        return self._use(self.adjectives[polarity])

    def _use(self, word: str) -> str:
        self.used.append(word)
        return word

    def more(self, polarity: int) -> str:
        return self._use(self.rng.choice([w for w in _ADJECTIVES[polarity] if w != self.adjectives[polarity]]))

    def noun(self, polarity: int) -> str:
        return self._use(self.rng.choice(_QUALITIES[polarity]))

    def clause(self, p: int, target: str, *, deep: bool = True) -> str:
        """A finite clause whose verdict on `target` is `p`; `o` below is the opposite."""
        rng, o, word, noun = self.rng, 1 - p, self.word, self.noun
        self._use(target)
        if deep and rng.random() < 0.06:
            inner = self.clause(o, target, deep=False)
            return rng.choice(
                ("it is not true that {}", "nobody could claim that {}", "I do not agree that {}")
            ).format(inner)
        plain = (
            lambda: f"{target} is {rng.choice(_DEGREES)}{word(p)}",
            lambda: f"{target} is {word(p)} and {self.more(p)}",
            lambda: f"{target} is full of {noun(p)}",
        )
        negated = (
            lambda: f"{target} is {rng.choice(_DENIALS)} {word(o)}",
            lambda: f"{target} never fails to be {word(p)}",
            lambda: f"{target} fails to be {word(o)}",
            lambda: f"{target} is never less than {word(p)}",
            lambda: f"{target} {rng.choice(('lacks', 'is free of', 'is without'))} {noun(o)}",
            lambda: f"{target} {rng.choice(('does not lack', 'is never without'))} {noun(p)}",
        )
        turned = (
            lambda: f"{target} is {word(p)} rather than {word(o)}",
            lambda: f"{target} is {rng.choice(('less', 'far less'))} {word(o)} than {word(p)}",
            lambda: f"{target} has more {noun(p)} than {noun(o)}",
            lambda: f"there is {noun(p)} in {target} where one feared {noun(o)}",
            lambda: f"those who call {target} {word(o)} are {rng.choice(('wrong', 'mistaken'))}",
            lambda: f"those who call {target} {word(p)} are {rng.choice(('right', 'not wrong'))}",
            lambda: f"{target} could have been {word(o)} in other hands",
            lambda: f"{target} would be {word(o)} if it were not so {word(p)}",
            lambda: f"I expected {target} to be {word(o)} and was {rng.choice(('wrong', 'proved wrong'))}",
            lambda: f"I expected {target} to be {word(p)} and was {rng.choice(('right', 'not disappointed in that'))}",
            lambda: f"{target} only pretends to be {word(o)}",
        )
        return rng.choice(rng.choices((plain, negated, turned), weights=(5, 3, 2))[0])()

    def ellipsis(self, p: int) -> str:
        """The decisive clause names no quality of its own."""
        rng, old, new = self.rng, self._use(self.rng.choice(_OTHERS)), self.rng.choice(_THIS)
        if rng.random() < 0.5:
            ending = rng.choice((f"{new} is not", f"{new} is the exact opposite", f"{new} is anything but that"))
            return f"{old} was {self.word(1 - p)}, and {ending}"
        ending = rng.choice((f"so is {new}", f"{new} is no different", f"{new} is just that"))
        return f"{old} was {self.word(p)}, and {ending}"

    def verdict(self, p: int, target: str, contrary: _Review) -> str:
        """The whole review: a clause that decides, beside one that says the same or the contrary."""
        rng = self.rng
        q = p if rng.random() < 0.5 else 1 - p
        second = rng.choice([t for t in _TARGETS if t != target])

        def main() -> str:
            return self.clause(p, target)

        def side() -> str:
            return contrary.clause(q, second)

        alone = (
            lambda: f"{main()}, {rng.choice(_TAILS)}",
            lambda: f"{rng.choice(_HEADS)} {main()}",
            lambda: self.ellipsis(p),
        )
        lighter = (
            lambda: f"despite all the {contrary.noun(q)} in {second}, {main()}",
            lambda: f"{main()}, for all the {contrary.noun(q)} in {second}",
            lambda: f"unlike the {contrary.word(q)} {rng.choice(('original', 'sequel', 'novel'))}, {main()}",
            lambda: f"after one {contrary.word(q)} hour, {main()}",
        )
        clauses = (
            lambda: f"{side()}, but {main()}",
            lambda: f"{side()}, yet in the end {main()}",
            lambda: f"although {side()}, {main()}",
            lambda: f"{main()}, even though {side()}",
        )
        return rng.choice(rng.choices((alone, lighter, clauses), weights=(4, 3, 3))[0])()


def sst2(rng: Random, label: int) -> Row:
    """A review of 5 to 25 words; 0 negative, 1 positive. Held out: what the verdict is about, with its words."""
    review = _Review(rng)
    text = review.verdict(label, rng.choice(_TARGETS), _Review(rng))
    return Row(key="|".join(review.used), columns={"text_a": sentence(text), "label": label})
