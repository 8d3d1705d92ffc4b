"""Which stages a recipe may have: references that are there, trained before, and in no circle."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plmc.core import graph
from plmc.core.stage import Recipe, Stage
from plmc.errors import ConfigError
from plmc.methods.distill.logit_kd import LogitKD
from plmc.methods.distill.task_loss import TaskLoss


def stage(name: str, **values) -> Stage:
    return Stage(name=name, methods={"kd": LogitKD()}, **values)


def test_a_stage_learns_from_the_runs_teacher_unless_it_says_otherwise():
    one = stage("one")
    assert one.teachers == ("teacher",) and one.student == "previous" and graph.named(one) == []
    assert stage("one", teachers="two").teachers == ("two",)
    assert graph.named(stage("one", teachers=["teacher", "two", "pretrained"], student="three")) == ["three", "two"]


def test_a_stage_is_known_to_learn_by_its_methods():
    assert stage("one").learns and not Stage(name="one", methods={"task": TaskLoss()}).learns


@pytest.mark.parametrize(
    "stages, said",
    [
        ([stage("one", teachers=["tow"]), stage("two")], "refers to tow, and the recipe has no such stage.*two"),
        ([stage("one", student="two"), stage("two")], "one refers to stage two, which is trained after it"),
        ([stage("one", teachers=["one"])], "one refers to stage one, which is trained after it"),
        ([stage("one"), stage("two", student="one", shared=True)], "two is shared and refers to one"),
        (
            [stage("one", student="two", shared=True), stage("two", teachers="one", shared=True), stage("three")],
            "(one → two → one|two → one → two) refer to each other in a circle",
        ),
        ([stage("fresh")], "fresh means something else"),
        ([stage("one", student="big")], "student=big is an entry of teachers"),
        ([stage("one"), stage("big")], "big is a stage and an entry of teachers"),
    ],
)
def test_what_cannot_be_is_refused_by_name(stages, said):
    with pytest.raises(ConfigError, match=said):
        graph.check(stages, ["big"])


def test_names_may_not_be_given_twice():
    with pytest.raises(ConfigError, match="names two twice"):
        stage("one", teachers=["two", "two"])


def test_every_update_has_a_row_of_each_feed():
    with pytest.raises(ConfigError, match="mix=together needs a row of each of its 3 feeds"):
        stage("one", mix="together", batch_size=2, feeds={"a": 1, "b": 2, "c": 3})


def test_shared_stages_may_be_listed_anywhere():
    stages = [stage("one", student="two", teachers=["teacher", "big"]), stage("two", shared=True)]
    graph.check(stages, ["big"])
    assert [each.name for each in Recipe(name="r", stages=tuple(stages)).own] == ["one"]


def test_a_recipe_of_shared_stages_trains_nothing():
    with pytest.raises(ConfigError, match="no stages of its own"):
        Recipe(name="r", stages=(stage("one", shared=True),))


@given(st.lists(st.integers(0, 6), min_size=1, max_size=6), st.data())
def test_what_is_behind_a_stage_is_what_it_names_and_what_is_behind_that(sizes, data):
    names = [f"s{i}" for i in range(len(sizes))]
    stages = {}
    for i, name in enumerate(names):
        refers = data.draw(st.lists(st.sampled_from(names[:i]), unique=True)) if i else []
        stages[name] = stage(name, teachers=refers, shared=True)
    graph.check(stages.values())
    for name, each in stages.items():
        direct = set(each.teachers)
        expected = direct.union(*(graph.behind(other, stages) for other in direct))
        found = graph.behind(name, stages)
        assert set(found) == expected and found == sorted(found, key=names.index) and name not in found
