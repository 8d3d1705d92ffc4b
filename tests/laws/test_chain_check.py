"""What a chain refuses before training, and that it says how to go on."""

from dataclasses import dataclass, replace

import pytest
from laws.fakes import SHAPE, Declares, setting

from plmc.core.chain import Chain
from plmc.core.method import Method
from plmc.errors import ConfigError


def holds(*roles):
    return Declares(roles=frozenset(roles))


def test_one_role_has_one_holder():
    with pytest.raises(ConfigError, match=r"stage main: first and second both .*'mask'.*~methods\.second"):
        Chain({"first": holds("mask"), "second": holds("average", "mask")}).check(setting())


def test_different_roles_live_together():
    Chain({"a": holds("mask"), "b": holds("average"), "c": holds()}).check(setting())


def test_a_third_holder_is_refused_although_others_stand_between():
    with pytest.raises(ConfigError, match="a and c both"):
        Chain({"a": holds("gradient"), "b": holds("mask"), "c": holds("gradient")}).check(setting())


@pytest.mark.parametrize("need", ["teacher.logits", "teacher.hidden_states", "teacher.scores"])
def test_a_learner_without_a_teacher_is_refused_by_name(need):
    many = Chain({"quiet": Declares(), "pupil": Declares(asks=frozenset({need}))})
    with pytest.raises(ConfigError, match=r"stage main: pupil learns from a teacher.*teacher=bert-base"):
        many.check(setting())
    many.check(setting(teacher=SHAPE))


def test_what_the_student_gives_needs_no_teacher():
    Chain({"a": Declares(asks=frozenset({"hidden_states", "fp32"}))}).check(setting())


def test_every_method_is_asked_and_the_first_refusal_is_told():
    asked = []

    @dataclass
    class Asked(Method):
        refuse: bool = False

        def check(self, setting):
            asked.append(self.name)
            if self.refuse:
                raise ConfigError(f"{self.name} does not fit")

    with pytest.raises(ConfigError, match="two does not fit"):
        Chain({"one": Asked(), "two": Asked(refuse=True), "three": Asked(refuse=True)}).check(setting())
    assert asked == ["one", "two"]


@dataclass
class Cuts(Method):
    """Takes `layers` away, or does not know how many; remembers what it was asked and shown."""

    layers: int | None = 1

    def dims_after(self, before):
        self.before = before.layers
        if self.layers is not None and self.layers >= before.layers:
            raise ConfigError(f"{self.name}: cannot take {self.layers} of {before.layers}")
        return None if self.layers is None else replace(before, layers=before.layers - self.layers)

    def check(self, setting):
        self.shown = setting.student.layers


def test_shapes_fold_and_every_method_is_shown_the_last_one():
    twelve = replace(SHAPE, layers=12)
    cuts = {"a": Cuts(2), "b": Cuts(None), "c": Cuts(3)}
    many = Chain(cuts)
    assert many.dims_after(twelve) == replace(SHAPE, layers=7)
    many.check(setting(student=twelve))
    assert [cut.before for cut in many] == [12, 10, 10]
    assert [cut.shown for cut in many] == [7, 7, 7]


def test_a_cut_that_leaves_nothing_is_refused_by_check():
    with pytest.raises(ConfigError, match="two: cannot take 1 of 1"):
        Chain({"one": Cuts(1), "two": Cuts(1)}).check(setting(student=replace(SHAPE, layers=2)))


def test_a_recipe_has_stages():
    from plmc.core.stage import Recipe, Stage

    with pytest.raises(ConfigError, match="recipe bare has no stages"):
        Recipe(name="bare", stages=())
    assert len(Recipe(name="one", stages=(Stage(name="a", methods={}),)).stages) == 1
