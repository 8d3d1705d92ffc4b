"""The law of every hook: what many methods do as one."""

import itertools

import pytest
import torch
from laws.fakes import CLOCK, Declares, Note, setting
from torch import nn

from plmc.core.chain import Chain
from plmc.core.method import Method
from plmc.errors import ConfigError


def chain(letters="abc", **ranks) -> tuple[Chain, list[str]]:
    diary: list[str] = []
    return Chain({x: Note(letter=x, diary=diary, rank=ranks.get(x, 0)) for x in letters}), diary


@pytest.mark.parametrize("hook", ["data", "prepare"])
def test_fold_in_listed_order(hook):
    assert getattr(chain("abc")[0], hook)("", setting()) == "abc"
    assert getattr(chain("cab")[0], hook)("", setting()) == "cab"


def test_rate_folds_in_listed_order():
    one, two = ord("a"), ord("b")
    assert chain("ab")[0].rate(1.0, CLOCK) == 2 * (2 * 1.0 + one) + two
    assert chain("ba")[0].rate(1.0, CLOCK) == 2 * (2 * 1.0 + two) + one


def test_finish_folds_in_reverse_order_of_listing_and_rank():
    assert chain("abc")[0].finish("", setting()) == "cba"
    # Watchers (rank 1) first: averages, then masks.
    assert chain("abc", a=1)[0].finish("", setting()) == "acb"


def test_weights_fold_in_reverse_rank_wherever_the_watcher_is_listed():
    for letters in itertools.permutations("abc"):
        folded = chain(letters, b=1)[0].weights({"w": ""}, CLOCK)["w"]
        assert folded[0] == "b"
        assert folded[1:] == "".join(x for x in reversed(letters) if x != "b")


def test_after_update_runs_by_rank_then_as_listed():
    many, diary = chain("abc", a=1)
    many.after_update(None, CLOCK)
    assert diary == ["b3", "c3", "a3"]


def test_files_are_left_in_listed_order(tmp_path):
    class Leaves(Note):
        def leave(self, folder, base):
            with (folder / "said").open("a") as file:
                file.write(f"{self.letter}:{base} ")

    Chain({x: Leaves(letter=x, rank=2 if x == "b" else 0) for x in "bac"}).leave(tmp_path, "bert")
    assert (tmp_path / "said").read_text() == "b:bert a:bert c:bert "


def test_a_batch_is_observed_by_rank_then_as_listed():
    many, diary = chain("abc", a=1)
    many.observe("view", CLOCK)
    assert diary == ["b:view", "c:view", "a:view"]


def test_batches_fold_in_listed_order():
    many, _ = chain("ab")
    assert many.batch("", "r", CLOCK) == "ar3br3" and many.rewrites()
    assert chain("ba")[0].batch("", "r", CLOCK) == "br3ar3"
    assert not Chain({"none": Method()}).rewrites() and Chain({"inner": many}).rewrites()


def test_a_fold_is_the_composition_of_its_parts():
    whole, _ = chain("abcd")
    left, right = chain("ab")[0], chain("cd")[0]
    assert whole.data("x", setting()) == right.data(left.data("x", setting()), setting())
    assert whole.rate(3.0, CLOCK) == right.rate(left.rate(3.0, CLOCK), CLOCK)
    assert whole.weights({"w": "x"}, CLOCK) == left.weights(right.weights({"w": "x"}, CLOCK), CLOCK)
    assert whole.finish("x", setting()) == left.finish(right.finish("x", setting()), setting())


def test_losses_terms_and_metrics_are_a_union_under_the_methods_names():
    many, _ = chain("ab")
    assert many.terms() == {"a/one": 1.0, "a/two": 2.0, "b/one": 1.0, "b/two": 2.0}
    assert many.losses(None, CLOCK) == {"a/one": torch.tensor(97.0), "b/one": torch.tensor(98.0)}
    assert many.metrics() == {"a/letter": 97.0, "b/letter": 98.0}


def test_weights_of_terms_follow_the_clock():
    class Grows(Note):
        def terms(self, clock):
            return {"one": float(clock.step)}

    assert Chain({"a": Grows(), "b": Grows()}).terms(CLOCK) == {"a/one": 3.0, "b/one": 3.0}


def test_modules_are_a_union_without_the_methods_that_have_none():
    built = chain("anb")[0].modules(setting())
    assert list(built) == ["a", "b"]
    assert built["b"].out_features == 2


def test_groups_unite_different_keys():
    many = Chain({"a": Declares(options={"lr": 1.0}), "b": Declares(options={"eps": 2.0})})
    assert many.groups("w", None) == {"lr": 1.0, "eps": 2.0}


def test_groups_refuse_the_same_key_twice_even_with_equal_values():
    many = Chain({"slow": Declares(options={"lr": 1.0}), "fast": Declares(options={"lr": 1.0})})
    with pytest.raises(ConfigError, match=r"slow and fast both set .*'lr' of w.*Remove one"):
        many.groups("w", None)


class Claims(Method):
    def __init__(self, *names):
        super().__init__()
        self.names = names

    def trains(self, name, param):
        return name in self.names


def test_what_is_trained_is_a_union_of_claims_in_any_order():
    methods = {"a": Claims("w"), "b": Claims("v", "w"), "none": Method(), "nothing": Claims()}
    for order in itertools.permutations(methods):
        many = Chain({name: methods[name] for name in order})
        assert [many.trains(name, None) for name in "uvw"] == [False, True, True] and many.claims()
        assert Chain({"inner": many, "more": Claims("u")}).trains("u", None)
    assert Chain({"nothing": Claims()}).claims() and not Chain({"none": Method()}).claims()


def test_required_is_a_union_and_settled_the_latest():
    many = Chain({"a": Declares(asks=frozenset("xy"), quiet_from=4), "b": Declares(asks=frozenset("yz"), quiet_from=7)})
    assert many.required() == frozenset("xyz")
    assert many.settled(CLOCK) == 7


def test_scopes_nest_with_the_first_listed_outermost():
    many, diary = chain("abc")
    with many.scope(None, CLOCK):
        diary.append("forward")
    assert diary == ["+a", "+b", "+c", "forward", "-c", "-b", "-a"]


def test_scopes_close_after_an_exception():
    many, diary = chain("ab")
    with pytest.raises(ZeroDivisionError), many.scope(None, CLOCK):
        raise ZeroDivisionError
    assert diary == ["+a", "+b", "-b", "-a"]


def test_scopes_that_are_open_close_when_a_later_one_cannot_open():
    class Broken(Method):
        def scope(self, model, clock):
            raise ZeroDivisionError

    diary: list[str] = []
    many = Chain({"a": Note(letter="a", diary=diary), "broken": Broken()})
    with pytest.raises(ZeroDivisionError), many.scope(None, CLOCK):
        raise AssertionError("the forward must not run")
    assert diary == ["+a", "-a"]


def test_gradients_wrap_with_the_first_listed_outermost():
    many, diary = chain("ab")

    def compute():
        diary.append("compute")
        return torch.tensor(1.0)

    assert float(many.gradient(compute, [])) == 1 + 97 + 98
    assert diary == ["+a", "+b", "compute", "-b", "-a"]


def test_a_wrapper_may_compute_twice_and_the_inner_ones_run_again():
    class Twice(Method):
        def gradient(self, compute, params):
            return compute() + compute()

    calls = []

    def compute():
        calls.append("compute")
        return torch.tensor(1.0)

    diary: list[str] = []
    many = Chain({"twice": Twice(), "a": Note(letter="a", diary=diary)})
    assert float(many.gradient(compute, [])) == 2 * (1 + 97)
    assert (len(calls), diary) == (2, ["+a", "-a"] * 2)


@pytest.mark.parametrize("stops", ["", "a", "b", "abc"])
def test_every_method_sees_every_evaluation_and_any_stop_stops(stops):
    diary: list[str] = []
    many = Chain({x: Note(letter=x, diary=diary, stop=x in stops) for x in "abc"})
    assert many.after_eval({"accuracy": 0.5}, CLOCK) is bool(stops)
    assert diary == ["a0.5", "b0.5", "c0.5"]


def test_state_goes_to_the_method_of_the_same_name():
    state = chain("abc")[0].state_dict()
    other = Chain({"c": Note(letter="x"), "a": Note(letter="y")})
    other.load_state_dict(state)
    assert (other["a"].letter, other["c"].letter) == ("a", "c")


def test_the_key_is_the_name_and_listing_is_kept():
    many, _ = chain("cab")
    assert [method.name for method in many] == list(many.named) == ["c", "a", "b"]
    assert len(many) == 3 and "a" in many and "z" not in many


@pytest.mark.parametrize(
    "empty", [Method(), Chain({}), Chain({"a": Method(), "b": Method()})], ids=["method", "0", "2"]
)
def test_the_default_of_every_hook_is_the_identity_of_its_law(empty):
    around, params = setting(), {"w": torch.ones(2)}
    assert empty.data("rows", around) == "rows"
    assert empty.prepare("model", around) == empty.finish("model", around) == "model"
    assert not empty.modules(around)
    assert empty.rate(0.3, CLOCK) == 0.3
    assert empty.weights(params, CLOCK) is params
    assert empty.groups("w", nn.Parameter(params["w"])) == empty.losses(None, CLOCK) == empty.terms() == {}
    assert empty.batch("batch", None, CLOCK) == "batch" and not empty.rewrites()
    assert not empty.trains("w", None) and not empty.claims()
    assert empty.required() == frozenset() and empty.metrics() == {} and empty.settled(CLOCK) == 0
    assert empty.gradient(lambda: torch.tensor(2.0), []) == 2.0
    assert empty.after_eval({"accuracy": 1.0}, CLOCK) is False
    with empty.scope(None, CLOCK):
        empty.after_update(None, CLOCK)
    empty.observe(None, CLOCK)
    empty.sync(None, CLOCK, None)
    empty.leave(None, "base")
    empty.check(around)
    empty.load_state_dict(empty.state_dict())


def test_tokenizers_fold_in_reverse_order_of_listing_and_rank():
    class Marks(Note):
        def tokenizer(self, tokenizer):
            return tokenizer + self.letter

    def folded(letters, **ranks):
        return Chain({x: Marks(letter=x, diary=[], rank=ranks.get(x, 0)) for x in letters}).tokenizer("")

    assert folded("abc") == "cba" and folded("abc", a=1) == "acb"


def test_hidden_states_that_are_read_are_a_union_and_all_by_default():
    class Reads(Method):
        def __init__(self, needs, layers=None):
            self.needed, self.layers = frozenset(needs), layers

        def required(self):
            return self.needed

        def teacher_layers(self, setting):
            return super().teacher_layers(setting) if self.layers is None else frozenset(self.layers)

    from plmc.core.setting import Dims

    three = setting(teacher=Dims(3, 8, 2, 8, 9))
    assert Reads({"teacher.hidden_states"}).teacher_layers(three) == {0, 1, 2, 3}
    assert Reads({"teacher.hidden_states"}).teacher_layers(setting(teacher=None)) == set()
    assert Reads({"teacher.logits"}).teacher_layers(three) == set()
    both = Chain({"one": Reads({"teacher.hidden_states"}, {1}), "two": Reads({"teacher.hidden_states"}, {3})})
    assert both.teacher_layers(three) == {1, 3} and Chain({}).teacher_layers(three) == set()
    assert Chain({"all": Reads({"teacher.hidden_states"})}).teacher_layers(three) == {0, 1, 2, 3}


def test_every_hook_gets_the_setting():
    class Looks(Method):
        def data(self, data, setting):
            return [*data, setting]

        def prepare(self, model, setting):
            return [*model, setting]

        def finish(self, model, setting):
            return [*model, setting]

        def modules(self, setting):
            seen.append(setting)

    seen, around = [], setting()
    chain = Chain({"one": Looks(), "two": Looks()})
    for hook in (chain.data, chain.prepare, chain.finish):
        assert hook([], around) == [around, around]
    chain.modules(around)
    assert seen == [around, around]
