"""Stages run in the order in which a reader of the recipe sees them."""

import pytest

from plmc.config.compose import compose, plain
from plmc.config.resolve import resolve


@pytest.mark.parametrize(
    "recipe, stages",
    [
        ("tinybert", ["intermediate", "prediction"]),
        ("tinybert_code", ["intermediate", "prediction"]),
        ("tinybert_general", ["general", "intermediate", "prediction"]),
    ],
)
def test_stage_order(recipe, stages):
    run = resolve(plain(compose([f"recipe={recipe}", "preset=offline"])))
    assert [stage.name for stage in run.recipe.stages] == stages


def test_the_budgets_rate_reaches_every_stage_but_not_the_teacher():
    from plmc.teachers.runs import teacher_run

    run = resolve(plain(compose(["recipe=tinybert", "preset=offline", "budget.lr=5e-4"])))
    assert {stage.lr for stage in run.recipe.stages} == {5e-4}
    assert [stage.lr for stage in teacher_run(run, run.task).recipe.stages] == [3e-4]
