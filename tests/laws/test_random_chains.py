"""The laws on chains of random methods: folds compose, unions do not care for order, ranks sort."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from laws.fakes import CLOCK, Note, setting

from plmc.core.chain import Chain
from plmc.core.method import Method

LETTERS = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6, unique=True)
RANKS = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 2))


def chain(letters, ranks=None, diary=None):
    diary = [] if diary is None else diary
    return Chain({x: Note(letter=x, diary=diary, rank=(ranks or {}).get(x, 0)) for x in letters})


@given(LETTERS, st.data())
def test_a_chain_is_its_beginning_and_then_its_end(letters, data):
    at = data.draw(st.integers(0, len(letters)))
    whole, left, right = chain(letters), chain(letters[:at]), chain(letters[at:])
    around = setting()
    assert whole.data("x", around) == right.data(left.data("x", around), around)
    assert whole.prepare("x", around) == right.prepare(left.prepare("x", around), around)
    assert whole.rate(3.0, CLOCK) == right.rate(left.rate(3.0, CLOCK), CLOCK)
    assert whole.batch("x", "r", CLOCK) == right.batch(left.batch("x", "r", CLOCK), "r", CLOCK)
    # These go backwards: the end first.
    assert whole.finish("x", around) == left.finish(right.finish("x", around), around)
    assert whole.weights({"w": "x"}, CLOCK) == left.weights(right.weights({"w": "x"}, CLOCK), CLOCK)


@given(LETTERS, RANKS)
def test_ranks_sort_and_the_listed_order_decides_among_equals(letters, ranks):
    diary: list[str] = []
    many = chain(letters, ranks, diary)
    expected = sorted(letters, key=lambda letter: ranks.get(letter, 0))
    many.after_update(None, CLOCK)
    many.observe("v", CLOCK)
    many.sync(None, CLOCK, "j")
    told = [[f"{x}{CLOCK.step}" for x in expected], [f"{x}:v" for x in expected], [f"{x}-3-j" for x in expected]]
    assert diary == sum(told, [])
    assert many.finish("", setting()) == "".join(reversed(expected)) == many.weights({"w": ""}, CLOCK)["w"]


@given(LETTERS, st.randoms())
def test_unions_are_the_same_in_any_order(letters, random):
    shuffled = random.sample(letters, len(letters))
    one, two = chain(letters), chain(shuffled)
    assert one.terms(CLOCK) == two.terms(CLOCK) and one.losses(None, CLOCK) == two.losses(None, CLOCK)
    assert one.metrics() == two.metrics() and set(one.modules(setting())) == set(two.modules(setting()))


@dataclass
class Claims(Method):
    """Claims what it is told to; None: says nothing."""

    names: frozenset | None = None

    def trains(self, name, param):
        return name in self.names

    def claims(self):
        return self.names is not None


@given(st.lists(st.one_of(st.none(), st.frozensets(st.sampled_from("uvwxyz"))), max_size=5), st.randoms(), st.data())
def test_what_is_trained_is_the_union_of_all_claims(claims, random, data):
    methods = {f"m{i}": Method() if names is None else Claims(names=names) for i, names in enumerate(claims)}
    union = frozenset().union(*(names for names in claims if names is not None))
    order = random.sample(list(methods), len(methods))
    at = data.draw(st.integers(0, len(order)))
    flat = Chain({name: methods[name] for name in order})
    nested = Chain(
        {"one": Chain({n: methods[n] for n in order[:at]}), "two": Chain({n: methods[n] for n in order[at:]})}
    )
    for many in (flat, nested):
        assert {name for name in "uvwxyz" if many.trains(name, None)} == union
        assert many.claims() == any(names is not None for names in claims)


@dataclass
class Draws(Method):
    """Adds what it draws, of its own kind."""

    kind: str = "random"
    drawn: list = field(default_factory=list)

    def batch(self, batch, rng, clock):
        return batch + getattr(rng, self.kind)(size=len(batch))


@given(st.lists(st.sampled_from(["random", "standard_normal", "standard_exponential"]), max_size=4), st.integers(0, 99))
def test_what_methods_draw_for_a_batch_is_a_function_of_the_key(kinds, key):
    methods = {f"m{i}": Draws(kind=kind) for i, kind in enumerate(kinds)}
    many, start = Chain(methods), np.zeros(3)
    first = many.batch(start, np.random.default_rng(key), CLOCK)
    torch.manual_seed(key), np.random.seed(key)
    assert (many.batch(start, np.random.default_rng(key), CLOCK) == first).all()
    if kinds:
        assert (many.batch(start, np.random.default_rng(key + 1), CLOCK) != first).any()


@dataclass
class Scales(Method):
    """Multiplies the loss, and gives the rows weights or leaves them to those further out."""

    factor: float = 1.0
    own: float | None = None

    def gradient(self, compute, params):
        loss = compute() if self.own is None else compute(torch.full((2,), self.own))
        return loss * self.factor


class Counts:
    """The sum of the weights that it is given, 1 without."""

    def __call__(self, weights=None):
        return torch.tensor(1.0) if weights is None else weights.sum()

    def examples(self):
        return torch.tensor([5.0, 7.0])


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from([0.5, 2.0]), st.sampled_from([None, 1.0, 3.0])), max_size=5))
def test_the_innermost_weights_count_and_every_wrapper_wraps(wrappers):
    methods = {f"m{i}": Scales(factor=factor, own=own) for i, (factor, own) in enumerate(wrappers)}
    innermost = next((own for _, own in reversed(wrappers) if own is not None), None)
    expected = (1.0 if innermost is None else 2 * innermost) * np.prod([factor for factor, _ in wrappers])
    assert float(Chain(methods).gradient(Counts(), [])) == pytest.approx(expected)
