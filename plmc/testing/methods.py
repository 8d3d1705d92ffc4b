"""What every method must do, as a class of pytest tests; needs pytest (`pip install 'plmc[test]'`).

from plmc.testing import MethodSuite, Row

class TestMine(MethodSuite):
    rows = (Row("label_smoothing", LabelSmoothing, off=lambda: LabelSmoothing(weight=0)),)
"""

from __future__ import annotations

import copy
import itertools
import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

from plmc.core.method import Method
from plmc.errors import ConfigError
from plmc.methods.average.swa import SWA
from plmc.methods.distill.task_loss import TaskLoss
from plmc.methods.layers.layer_drop import LayerDrop
from plmc.methods.perturb.hype import HyPe
from plmc.methods.prune.gmp import GMP
from plmc.models.attention import PREFIXED
from plmc.models.encoder import pruned_linears
from plmc.models.load import load_whole
from plmc.testing.stage import HEADS, VOCABULARY, Interrupted, bert, equal, rig, rows, score
from plmc.training.evaluate import logits_of

STEPS = 8
"""Updates of a stage in the suite; student and teacher have 4 layers, the student comes with some zeros."""


@dataclass(frozen=True)
class Row:
    """`make`: the method, set up so that it acts within `STEPS` updates. `off`: the same method switched off, with
    which training is bit for bit what it is without it (null: it cannot be switched off). `tolerance`: how far the
    scores of the exported model may be from those that were judged (0: equal bit for bit). `edits`: the exported model
    has parts that the student had not. Everything else (whether it
    needs another method's loss, a teacher, full precision; what it excludes) the suite reads from the method."""

    name: str
    make: Callable[[], Method]
    off: Callable[[], Method] | None = None
    tolerance: float = 0.0
    edits: bool = False


PARTNERS = (
    Row("gmp", lambda: GMP(every=1), off=lambda: GMP(initial=0, final=0)),
    Row("swa", SWA, off=lambda: SWA(begin=STEPS - 1)),
    Row("hype", lambda: HyPe(sigma=1e-2), off=lambda: HyPe(sigma=0, hidden_dropout=None)),
    Row("layer_drop", lambda: LayerDrop(strategy="top", k="half"), off=lambda: LayerDrop(strategy="top", k=0)),
)


def _name(row: Row) -> str:
    return row.name


# What a refusal must offer.
CURE = re.compile(r"\b(Add|Set|Remove|Use|Name|List|Write|Take|Raise|Leave)\b|=")


def listed(*chosen: Row, off: bool = False) -> dict:
    """The methods of these rows, with a task loss unless they bring a loss."""
    methods = {row.name: row.off() if off else row.make() for row in chosen}
    return methods if any(method.terms() for method in methods.values()) else {"task": TaskLoss(), **methods}


def student(*, dropout: float = 0.1) -> nn.Module:
    """4 layers, a fifth of the weights zero, so that a method that keeps a pattern has one to keep; rows of the
    embedding that no word needs."""
    model = bert(layers=4, vocabulary=VOCABULARY + 4, dropout=dropout)
    with torch.no_grad():
        for linear in pruned_linears(model).values():
            linear.weight[:, ::5] = 0
    return model


def stage(folder, methods, **options):
    return rig(methods, folder, **{"model": student(), "teacher": bert(7, layers=4), "steps": STEPS, **options})


def finite(made) -> bool:
    told = [value for values in made.logs.values() for value in values.values()]
    return all(math.isfinite(value) for value in told) and all(bool(v.isfinite().all()) for v in made.weights.values())


def same(one, two) -> bool:
    """Equality of nested plain values and tensors."""
    if isinstance(one, torch.Tensor):
        return isinstance(two, torch.Tensor) and one.dtype == two.dtype and torch.equal(one, two)
    if isinstance(one, dict):
        return isinstance(two, dict) and one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(two) and all(same(a, b) for a, b in zip(one, two, strict=True))
    return one == two


def train_or_refuse(folder, *chosen, **options):
    """The trained stage, or the error of a refusal; anything that fails later, or without a cure, fails the test."""
    try:
        made = stage(folder, listed(*chosen), **options)
    except ConfigError as error:
        assert CURE.search(str(error)), f"no cure in: {error}"
        return error
    return made.fit()


KIND = 10
"""Where a module's class is in its `traces`."""


def traces(model: nn.Module) -> dict[int, tuple]:
    """What a method could leave behind in the modules that were there before."""
    hooks = (
        "_forward_hooks",
        "_forward_pre_hooks",
        "_backward_hooks",
        "_backward_pre_hooks",
        "_state_dict_hooks",
        "_state_dict_pre_hooks",
        "_load_state_dict_pre_hooks",
        "_load_state_dict_post_hooks",
    )
    return {
        id(module): (
            *(len(getattr(module, hook)) for hook in hooks),
            module.training,
            getattr(module, "p", None),
            type(module),
            *(len(p._backward_hooks or ()) for p in module.parameters(recurse=False)),
            *(len(p._post_accumulate_grad_hooks or ()) for p in module.parameters(recurse=False)),
            *(p.requires_grad for p in module.parameters(recurse=False)),
            vars(module).get("forward"),
        )
        for module in model.modules()
    }


class MethodSuite:
    """The tests; a subclass names its `rows`.

    Attributes:
        rows: one for each method.
        partners: rows that every other one is trained with for a whole stage: pruning, averaging, noise, fewer layers.
        nothing_to_do: pairs (this, with that) in which the first rightly has no effect.
        pairs: of all ordered pairs of rows, how many the ordinary suite trains; the others are marked `slow`.
    """

    rows: ClassVar[Sequence[Row]] = ()
    partners: ClassVar[Sequence[Row]] = PARTNERS
    nothing_to_do: ClassVar[frozenset[tuple[str, str]]] = frozenset()
    pairs: ClassVar[int] = 150

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        chosen = self.rows
        if "switched" in metafunc.function.__name__:
            chosen = [row for row in self.rows if row.off]
        elif "bf16" in metafunc.function.__name__:
            chosen = [row for row in self.rows if "fp32" not in row.make().required()]
        named = {row.name for row in self.rows}
        if {"row", "partner"} <= set(metafunc.fixturenames):
            couples = [(row, other) for row in self.rows for other in self.partners if row.name != other.name]
            metafunc.parametrize("row, partner", couples, ids=_name)
        elif {"one", "two"} <= set(metafunc.fixturenames):
            others = [other for other in self.partners if other.name not in named]
            couples = list(itertools.permutations([*self.rows, *others], 2))
            couples = [pair for pair in couples if {row.name for row in pair} & named]
            sample = set(random.Random(0).sample(range(len(couples)), min(self.pairs, len(couples))))
            marked = [
                pytest.param(*pair, marks=() if i in sample else pytest.mark.slow, id="-".join(map(_name, pair)))
                for i, pair in enumerate(couples)
            ]
            metafunc.parametrize("one, two", marked)
        elif "row" in metafunc.fixturenames:
            metafunc.parametrize("row", chosen, ids=_name)

    @pytest.fixture(scope="class")
    def whole(self, tmp_path_factory):
        """Each row trained once without interruption."""
        trained = {}

        def run(row):
            if row.name not in trained:
                trained[row.name] = stage(tmp_path_factory.mktemp(row.name), listed(row)).fit()
            return trained[row.name]

        return run

    @pytest.fixture(scope="class")
    def short(self, tmp_path_factory):
        """Each row trained alone for a few updates."""
        trained = {}

        def run(row):
            if row.name not in trained:
                folder = tmp_path_factory.mktemp(f"short-{row.name}")
                trained[row.name] = stage(folder, listed(row), steps=4, evaluate=None).fit()
            return trained[row.name]

        return run

    def test_trains(self, whole, row):
        made = whole(row)
        assert made.outcome.steps == STEPS and len(made.logs) == STEPS
        assert all("loss" in values for values in made.logs.values())
        assert finite(made)
        assert not equal(made.model.state_dict(), student().state_dict())

    @pytest.mark.parametrize("at", [2, 5, 7])
    def test_resumes_bit_for_bit(self, tmp_path, whole, row, at):
        with pytest.raises(Interrupted):
            stage(tmp_path, listed(row), checkpoint_steps=at, stop_after=at).fit()
        second = stage(tmp_path, listed(row))
        torch.manual_seed(999)
        second.fit()
        first = whole(row)
        assert equal(second.weights, first.weights)
        assert equal(second.model.state_dict(), first.model.state_dict())
        assert second.outcome.metrics == first.outcome.metrics
        assert same(second.chain.state_dict(), first.chain.state_dict())
        assert all(values == first.logs[step] for step, values in second.logs.items())

    def test_composes_or_is_refused_with_a_cure(self, tmp_path, whole, row, partner):
        result = train_or_refuse(tmp_path, row, partner)
        if isinstance(result, ConfigError):
            assert row.name in str(result) or partner.name in str(result)
            return
        assert finite(result) and result.outcome.steps == STEPS
        # What the partner reports alone (sparsity, averaged updates, layers) it reaches in company, too.
        alone = {key: value for key, value in whole(partner).logs[STEPS].items() if key.startswith(f"{partner.name}/")}
        assert {key: result.logs[STEPS][key] for key in alone} == pytest.approx(alone, abs=1e-2)

    def test_every_pair_trains_or_is_refused_with_a_cure(self, tmp_path, short, one, two):
        """In company each method still does something: the student is neither that of the one alone nor that of the
        other."""
        result = train_or_refuse(tmp_path, one, two, steps=4, evaluate=None)
        if isinstance(result, ConfigError):
            return
        assert finite(result)
        for alone, other in ((one, two), (two, one)):
            if (other.name == "task_loss" and "task" in listed(alone)) or (
                other.name,
                alone.name,
            ) in self.nothing_to_do:
                continue
            before = short(alone)
            idle = equal(result.model.state_dict(), before.model.state_dict()) and equal(result.weights, before.weights)
            assert not idle, f"{other.name} does nothing with {alone.name}"

    def test_a_second_holder_of_a_role_is_refused(self, tmp_path, row):
        twice = {"first": row.make(), "second": row.make()}
        if row.make().exclusive:
            with pytest.raises(ConfigError, match=r"first and second both want the role .*~methods\.second"):
                stage(tmp_path, {"task": TaskLoss(), **twice})

    def test_a_teacher_is_asked_for_only_where_it_is_needed(self, tmp_path, row):
        if any(need.startswith("teacher.") for need in row.make().required()):
            with pytest.raises(ConfigError, match=f"{row.name} learns from a teacher"):
                stage(tmp_path, listed(row), teacher=None)
            return
        try:
            made = stage(tmp_path, listed(row), teacher=None)
        except ConfigError as error:  # some want the teacher for their rows only
            assert row.name in str(error) and "there is no teacher" in str(error) and CURE.search(str(error))
        else:
            assert made.fit().outcome.steps == STEPS

    @pytest.mark.parametrize("training", [True, False])
    def test_leaves_nothing_behind(self, tmp_path, row, training):
        model = student().train(training)
        # The library installs its own hooks on the first forward that asks for hidden states or attention maps.
        ids = torch.ones(1, 3, dtype=torch.long)
        model.set_attn_implementation("eager")
        model(input_ids=ids, output_hidden_states=True, output_attentions=True)
        model.set_attn_implementation("sdpa")
        before, everything = traces(model), list(model.modules())  # a list, or ids of removed modules are used again
        made = stage(tmp_path, listed(row), model=model).fit()
        after = traces(made.model)
        assert len(everything) == len(before)
        for module in made.model.modules():
            if id(module) in before:
                found, had = after[id(module)], before[id(module)]
                if row.edits:  # a module with further parameters, and of a class that uses them
                    assert issubclass(found[KIND], had[KIND])
                    found, had = found[:KIND], had[:KIND]
                assert found == had, type(module).__name__
        own = [PREFIXED] if row.edits else []
        assert made.model.config._attn_implementation in ["sdpa", *own]

    def test_switched_off_it_is_not_there(self, tmp_path, row):
        # A constant rate: averaging, which wants one, may set it and still change nothing. The last weights: an average
        # chooses among evaluations that contain it.
        options = {"schedule": "constant", "warmup": 0, "select": "last"}
        without = stage(tmp_path / "without", {"task": TaskLoss()}, **options).fit()
        switched_off = {"task": TaskLoss(), row.name: row.off()}
        with_it = stage(tmp_path / "with", switched_off, teacher=None, **options).fit()
        assert equal(with_it.weights, without.weights)
        assert equal(with_it.model.state_dict(), without.model.state_dict())
        assert with_it.outcome.metrics == without.outcome.metrics
        losses = [{step: values["loss"] for step, values in made.logs.items()} for made in (with_it, without)]
        assert losses[0] == losses[1]

    def test_switched_on_it_is_there(self, tmp_path, row):
        # The last weights: the best ones may be from before an average began.
        plain = stage(tmp_path / "without", {"task": TaskLoss()}, select="last").fit()
        with_it = stage(tmp_path / "with", listed(row), select="last").fit()
        assert not equal(plain.model.state_dict(), with_it.model.state_dict())

    def test_state_survives_the_disk(self, tmp_path, whole, row):
        state = copy.deepcopy(whole(row).chain.state_dict())
        torch.save(state, tmp_path / "state.pt")
        fresh = stage(tmp_path, listed(row)).chain
        fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        assert same(fresh.state_dict(), state)
        assert fresh.metrics() == whole(row).chain.metrics()

    def test_losses_leave_the_state_alone(self, tmp_path, row):
        made = stage(tmp_path, listed(row), steps=4, evaluate=None)
        seen, losses = [], made.chain.losses

        def watched(view, clock):
            seen.append((view, clock))
            return losses(view, clock)

        made.chain.losses = watched
        made.fit()
        state = copy.deepcopy(made.chain.state_dict())
        losses(*seen[-1])
        assert same(made.chain.state_dict(), state)

    def test_runs_in_bf16(self, tmp_path, row):
        made = stage(tmp_path, listed(row), precision="bf16").fit()
        assert finite(made)
        assert all(value.dtype == torch.float32 for value in made.weights.values() if value.is_floating_point())

    def test_the_exported_model_is_the_model(self, tmp_path, whole, row):
        model = whole(row).model
        model.save_pretrained(tmp_path / "model")
        again = load_whole(type(model), str(tmp_path / "model"))
        one, two = (logits_of(m, rows(), HEADS["classification"], pad_id=0)[0] for m in (model, again))
        assert (one == two).all()
        assert equal(model.state_dict(), again.state_dict())

    def test_what_was_judged_is_what_is_exported(self, whole, row):
        made = whole(row)
        assert score(made.model, rows(9, seed=5)) == pytest.approx(made.outcome.metrics, abs=row.tolerance, rel=0)

    def test_the_teacher_stays_as_it_was(self, whole, row):
        assert equal(whole(row).teacher.state_dict(), bert(7, layers=4).state_dict())

    def test_a_method_object_can_be_used_for_a_second_run(self, tmp_path, whole, row):
        methods = listed(row)
        stage(tmp_path / "first", methods, seed=4).fit()
        assert equal(stage(tmp_path / "second", methods).fit().weights, whole(row).weights)
