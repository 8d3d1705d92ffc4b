"""Moments in a stage."""

import math
from fractions import Fraction

import pytest

from plmc.core.clock import Clock
from plmc.core.points import parse_point
from plmc.core.stage import Stage
from plmc.errors import ConfigError


@pytest.mark.parametrize("total", [1, 2, 3, 7, 10, 99, 100, 1000, 12345])
def test_percentages_are_rounded_up_without_binary_slips(total):
    clock = Clock(0, total, 10)
    for percent in range(101):
        assert clock.at(f"{percent}%") == math.ceil(Fraction(percent, 100) * total)


def test_moments_never_run_backwards_and_stay_inside():
    clock = Clock(0, 37, 9)
    steps = [clock.at(f"{tenth / 10}%") for tenth in range(1001)]
    assert steps == sorted(steps) and steps[0] == 0 and steps[-1] == 37
    assert clock.at("99ep") == clock.at(10**6) == 37


def test_units_agree():
    clock = Clock(0, 60, 20)
    assert clock.at("50%") == clock.at("1.5ep") == clock.at("1.5 epochs") == clock.at(30) == clock.at("30 steps") == 30


def test_a_moment_does_not_depend_on_where_the_clock_stands():
    assert {Clock(step, 60, 20).at("25%") for step in range(61)} == {15}


def test_progress_and_epoch():
    clock = Clock(15, 60, 20)
    assert (clock.progress, clock.epoch) == (0.25, 0.75)


@pytest.mark.parametrize(
    "text, parsed",
    [
        ("30%", (30, "%")),
        (" 30 % ", (30, "%")),
        ("0.5%", (0.5, "%")),
        ("2ep", (2, "ep")),
        ("1 epoch", (1, "ep")),
        ("500", (500, "step")),
        (500, (500, "step")),
        ("7 steps", (7, "step")),
        ("1step", (1, "step")),
        ("0%", (0, "%")),
    ],
)
def test_points_are_read(text, parsed):
    assert parse_point(text) == parsed


@pytest.mark.parametrize("text", ["", "half", "-1", "-5%", "1e3", "30%%", "ep", "3 weeks", None, "nan", "1.2.3", True])
def test_nonsense_is_refused_with_examples(text):
    with pytest.raises(ConfigError, match="30% .*2ep .*500"):
        parse_point(text)


def test_more_than_all_is_refused():
    with pytest.raises(ConfigError, match="0% to 100%"):
        parse_point("101%")


def test_a_fraction_of_an_update_is_refused_and_the_percentage_named():
    with pytest.raises(ConfigError, match="write 30%"):
        parse_point(0.3)


@pytest.mark.parametrize("rows, batch, epochs, total", [(10, 4, 1, 3), (10, 4, 2, 6), (10, 4, 0.5, 2), (1, 32, 3, 3)])
def test_a_stage_counts_its_updates(rows, batch, epochs, total):
    stage = Stage(name="main", methods={}, batch_size=batch, epochs=epochs)
    clock = stage.clock(rows)
    assert (clock.step, clock.total, clock.steps_per_epoch) == (0, total, math.ceil(rows / batch))


def test_steps_win_over_epochs_and_the_cap_over_both():
    stage = Stage(name="main", methods={}, batch_size=2, epochs=3, steps=7)
    assert [stage.clock(10).total, stage.clock(10, cap=5).total, stage.clock(10, cap=9).total] == [7, 5, 7]


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"epochs": 0},
        {"batch_size": -1},
        {"micro_batch": 0},
        {"patience": 0},
        {"lr": -1.0},
        {"select": "worst"},
        {"mix": "layered"},
        {"warmup": "often"},
        {"eval_every": "0%"},
        {"steps": 2.5},
    ],
)
def test_a_stage_refuses_nonsense_by_key(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong)) if "warmup" not in wrong else "often"):
        Stage(name="main", methods={}, **wrong)
