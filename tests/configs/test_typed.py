"""Only what is typed wins over a recipe: methods by their name, fields of stages, the length of a recipe."""

import pytest

from plmc.config.compose import compose, plain, single_runs
from plmc.config.resolve import resolve
from plmc.errors import ConfigError
from plmc.run.check import capped

OFFLINE = ("preset=offline",)


def run(*words):
    return resolve(plain(compose([*OFFLINE, *words])))


def stage(made, name):
    return next(stage for stage in made.recipe.stages if stage.name == name)


@pytest.mark.parametrize(
    "recipe, method, stage_name, field",
    [
        ("gmp_star", "gmp", "prune", "lr_end_factor"),
        ("prune_ofa", "lock", "qat", "pooler"),
        ("qat", "qat", "quantize", "freeze"),
        ("swa", "swa", "finetune", "begin"),
        ("hype", "hype", "finetune", "sigma"),
    ],
)
def test_naming_a_method_of_a_recipe_again_changes_nothing(recipe, method, stage_name, field):
    plain_run, again = run(f"recipe={recipe}"), run(f"recipe={recipe}", f"method=[{method}]")
    assert again.signature == plain_run.signature and again.label == plain_run.label == recipe
    methods = [stage(made, stage_name).methods[method] for made in (plain_run, again)]
    assert getattr(methods[0], field) == getattr(methods[1], field) and type(methods[0]) is type(methods[1])


def test_what_was_typed_wins_even_if_it_is_the_methods_own_default():
    # GMP*'s recipe has end: 80%, the method's file 70%.
    words = ("recipe=gmp_star", "methods.gmp.end=70%")
    by_name, with_method = run(*words), run(*words, "method=[gmp]")
    long = run("recipe=gmp_star", "recipe.stages.prune.methods.gmp.end=70%")
    assert by_name.signature == with_method.signature == long.signature
    made = stage(by_name, "prune").methods["gmp"]
    assert made.end == "70%" and made.lr_end_factor == 0.01 and made.cycle == "20%"


def test_a_method_of_a_recipe_is_reached_by_its_name():
    short = run("recipe=kd", "methods.kd.temperature=4")
    long = run("recipe=kd", "recipe.stages.distil.methods.kd.temperature=4")
    assert short.signature == long.signature != run("recipe=kd").signature
    assert stage(short, "distil").methods["kd"].temperature == 4 and short.label == "kd"
    assert "typed" not in short.config and short.config["methods"] == {}
    for word in ("+methods.kd.temperature=4", "++methods.kd.temperature=4"):
        assert run("recipe=kd", word).signature == short.signature


def test_a_field_that_the_recipe_leaves_out_is_reached_too():
    # The recipe's file says nothing of it.
    made = run("recipe=gmp_star", "methods.gmp.reintroduction=true")
    assert stage(made, "prune").methods["gmp"].reintroduction is True


def test_a_method_of_a_recipe_can_be_left_out():
    made = run("recipe=structured", "methods.head_prune=null")
    assert set(stage(made, "prune").methods) == {"kd", "ffn_prune"}


def test_a_method_in_two_stages_wants_the_long_path():
    with pytest.raises(ConfigError) as error:
        run("recipe=tinybert", "methods.augment.n=5")
    text = str(error.value)
    assert "2 stages have a method augment" in text
    for name in ("intermediate", "prediction"):
        word = f"recipe.stages.{name}.methods.augment.n=5"
        assert word in text and stage(run("recipe=tinybert", word), name).methods["augment"].n == 5


def test_fields_that_refer_to_typed_ones_follow_them():
    made = run("recipe=finetune", "method=[one_shot]", "methods.one_shot.begin=40%")
    assert stage(made, "finetune").methods["one_shot"].end == "40%"


def test_sweeps_vary_them():
    singles = single_runs([*OFFLINE, "recipe=kd", "methods.kd.temperature=2,4"])
    made = [stage(resolve(plain(compose(words))), "distil").methods["kd"].temperature for words in singles]
    assert made == [2, 4]


@pytest.mark.parametrize(
    "words, message",
    [
        (["recipe=kd", "methods.kd.temprature=4"], "KD has no such field. Did you mean temperature?"),
        (["recipe=kd", "methods.kdd.temperature=4"], "method kdd is not part of this run. Did you mean kd?"),
        (["recipe=kd", "methods.gmp.final=0.8"], "method gmp is not part of this run. Add it: method=[gmp]"),
        (["recipe=kd", "recipe.stages.distl.lr=1"], "recipe.stages has no key distl. Did you mean distil?"),
        (
            ["recipe=kd", "recipe.stages.distil.methods.kdd.alpha=1"],
            "recipe.stages.distil has no method kdd. Did you mean kd?",
        ),
        (["recipe=kd", "recipe.stages.distil.epoch=1"], "there is no such key"),
        (["recipe=kd", "epochs=many"], "epochs=many must be a number"),
        (["recipe=kd", "epochs=-1"], "epochs=-1 must be"),
    ],
)
def test_what_is_not_there_is_said(words, message):
    with pytest.raises(ConfigError) as error:
        run(*words)
    assert message in str(error.value)


def test_a_field_that_the_recipe_leaves_to_the_default_can_be_set():
    assert stage(run("recipe=finetune", "recipe.stages.finetune.epochs=10"), "finetune").epochs == 10
    assert stage(run("recipe=kd", "recipe.stages.distil.patience=2"), "distil").patience == 2


def test_one_short_key_sets_the_length_of_the_last_stage():
    short, long = run("recipe=tinybert", "epochs=7"), run("recipe=tinybert", "recipe.stages.prediction.epochs=7")
    # `steps: null` is written, too: it would win.
    assert stage(short, "prediction").epochs == 7 and stage(short, "intermediate").epochs == 20
    assert stage(run("recipe=kd", "recipe.stages.distil.steps=9", "epochs=7"), "distil").steps is None
    assert [s.epochs for s in short.recipe.stages] == [s.epochs for s in long.recipe.stages]
    assert "epochs" not in short.config and run("recipe=kd", "epochs=null").signature == run("recipe=kd").signature


def test_a_budget_says_that_it_lengthens_nothing():
    (text,) = capped(run("recipe=kd", "budget.epochs=10"))
    assert "budget.epochs=10 is a cap, and stage distil makes 3 passes" in text
    assert capped(run("recipe=kd", text.split("To make it longer: ")[1], "budget.epochs=10")) == []
    (text,) = capped(run("recipe=lora", "budget.lr=3e-4"))
    assert "stage finetune trains a part of the student at budget.lr=0.0003" in text
    assert capped(run("recipe=lora", text.split()[-1])) == [] == capped(run("recipe=finetune", "budget.lr=3e-4"))
    assert capped(run("recipe=kd", "budget.epochs=1")) == [] == capped(run("recipe=kd", "budget.epochs=null"))


@pytest.mark.parametrize(
    "group", ["recipe", "task", "data", "student", "teacher", "methods", "budget", "train", "seed", "precision"]
)
def test_what_every_run_has_cannot_be_taken_away(group):
    with pytest.raises(ConfigError, match=f"{group}"):
        run(f"~{group}")


@pytest.mark.parametrize(
    "value, read",
    [
        ("/tmp/größe", "/tmp/größe"),
        ("größe mit Leerstellen", "größe mit Leerstellen"),
        ("'größe'", "größe"),
        ("日本", "日本"),
    ],
)
def test_values_beyond_ascii_need_no_quotes(value, read):
    assert plain(compose([f"output_dir={value}"]))["output_dir"] == read


def test_values_beyond_ascii_in_a_sweep_and_in_a_list():
    made = [plain(compose(words))["output_dir"] for words in single_runs(["output_dir=ä/a,o"])]
    assert made == ["ä/a", "o"]
    assert plain(compose(["task=custom", "task.train=x.csv", "task.text=[größe,b]"]))["task"]["text"] == ["größe", "b"]


def test_null_in_a_sweep_is_null():
    from plmc.config.compose import for_jobs

    assert for_jobs(["student.layers=null", "budget.steps=4", "seed=1,2"]) == [
        "student.layers=null",
        "budget.steps=choice(4)",
        "seed=1,2",
    ]
