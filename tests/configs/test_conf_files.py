"""Every shipped config composes, resolves and says what it is for."""

import itertools
import re
from pathlib import Path

import pytest
import yaml

from plmc.config.compose import compose, plain
from plmc.config.folders import conf_dir, options
from plmc.config.resolve import Run, resolve
from plmc.core.chain import Chain
from plmc.core.stage import Stage
from plmc.errors import ConfigError

CONF = conf_dir()
FILES = sorted(CONF.rglob("*.yaml"))
RECIPES, TASKS, METHODS = options("recipe"), options("task"), options("method")
# What a file leaves open on purpose, and what somebody would type.
GIVEN = {
    "custom": ["task.train=my.csv", "task.text=[sentence]", "task.labels=[no,yes]"],
    "teacher=base": ["teacher.name=minilm-l6"],
    "student=base": ["student.name=minilm-l6"],
    "recipe=prune_ofa_transfer": ["student.name=minilm-l6"],
    "teacher=none": ["student=base", "student.name=minilm-l6"],
    "data=local": [f"data.root={Path(__file__).parent / 'rows'}"],
}


def run(*words: str) -> Run:
    given = [extra for word in words for extra in GIVEN.get(word, GIVEN.get(word.removeprefix("task="), []))]
    return resolve(plain(compose([*words, *given])))


def relative(path) -> str:
    return str(path.relative_to(CONF))


@pytest.mark.parametrize("recipe, task", list(itertools.product(RECIPES, TASKS)))
def test_every_recipe_resolves_for_every_task(recipe, task):
    words = ["preset=offline", f"recipe={recipe}", f"task={task}"]
    if (recipe, task) == ("prune_ofa_transfer", "mlm"):
        with pytest.raises(ConfigError, match="no stages for a task of kind mlm"):
            run(*words)
        return
    made = run(*words)
    assert (made.task.name, made.recipe.name) == (task, recipe)
    assert made.signature.startswith(f"{recipe}-{task}-1-")
    for stage in made.recipe.stages:
        assert Chain(stage.methods).terms(), f"stage {stage.name} has no loss"


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_has_what_tables_and_cards_show(recipe):
    made = run("preset=offline", f"recipe={recipe}").recipe
    assert made.title and made.paper
    assert all(isinstance(stage, Stage) for stage in made.stages)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_resolves_on_kd_and_lands_in_a_stage_under_its_name(method):
    made = run("preset=offline", "recipe=kd", f"method=[{method}]")
    found = [stage.methods[method] for stage in made.recipe.stages if method in stage.methods]
    assert [found[0].name, len(found)] == [method, 1]
    assert made.signature != run("preset=offline", "recipe=kd").signature


@pytest.mark.parametrize("method", METHODS)
def test_the_keys_of_a_method_file_are_fields_and_its_values_fit(method):
    text = METHODS[method].read_text()
    assert text.startswith(f"# @package methods.{method}\n")
    made = run("preset=offline", f"method=[{method}]")
    config = made.config["methods"][method]
    built = next(stage.methods[method] for stage in made.recipe.stages if method in stage.methods)
    assert set(config) - {"_target_"} <= set(vars(built))


@pytest.mark.parametrize(
    "group, option", [(g, o) for g in ("preset", "teacher", "student", "data", "tracking", "sweep") for o in options(g)]
)
def test_every_other_option_resolves(group, option):
    words = [f"{group}={option}"]
    made = run(*words) if group == "preset" else run("preset=offline", *words)
    assert made.recipe.name == "finetune"


def leaves(node, path=()):
    if not isinstance(node, dict):
        return {path: node}
    return {key: value for name, child in node.items() for key, value in leaves(child, (*path, name)).items()}


@pytest.mark.parametrize("names", [*([name] for name in options("preset")), list(options("preset"))], ids="+".join)
def test_presets_set_what_they_say_and_the_later_one_wins(names):
    said = {}
    for name in names:
        content = yaml.safe_load((CONF / "preset" / f"{name}.yaml").read_text(encoding="utf-8"))
        content.pop("defaults", None)
        said |= leaves(content)
    made = leaves(plain(compose([f"preset=[{','.join(names)}]"])))
    # The plain YAML reader takes 1e-4 for text.
    assert {key: str(made[key]) for key in said} == {
        key: str(float(value) if "e-" in str(value) else value) for key, value in said.items()
    }


def test_the_command_line_wins_over_presets():
    assert run("preset=offline", "train.lr=3e-5", "budget.epochs=7").budget.epochs == 7


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_the_first_comment_says_what_a_file_is_for(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    first = lines[1] if lines[0].startswith("# @package") else lines[0]
    assert re.match(r"# \w", first) and len(first.split()) >= 4, f"{relative(path)} begins with: {first}"
    assert all(len(line) <= 120 for line in lines)
    assert not any("\t" in line for line in lines)


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_no_key_twice(path):
    class Strict(yaml.SafeLoader):
        def construct_mapping(self, node, deep=False):
            keys = [self.construct_object(key, deep) for key, _ in node.value]
            assert len(keys) == len(set(keys)), f"{relative(path)}: {keys}"
            return super().construct_mapping(node, deep)

    assert isinstance(yaml.load(path.read_text(encoding="utf-8"), Strict), dict)


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_file_and_name_agree(path):
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.parent.name in ("recipe", "task"):
        assert content.get("recipe", content)["name"] == path.stem


def test_every_key_of_the_root_is_explained():
    text = (CONF / "train.yaml").read_text(encoding="utf-8")
    body = text.split("seed:", 1)[1].split("\nhydra:", 1)[0]
    plain_words = {
        "epochs",
        "batch_size",
        "lr",
        "weight_decay",
        "schedule",
        "warmup",
        "clip",
        "eval_every",
        "eval_rows",
        "checkpoint",
        "methods",
    }
    for line in ("seed:" + body).splitlines():
        key = line.split(":", 1)[0].strip()
        if key and key not in plain_words:
            assert "#" in line, f"train.yaml: {key} has no comment"


def test_the_schedule_defaults_of_the_root_are_fields_of_a_stage():
    config = plain(compose([]))
    assert set(config["train"]) <= set(Stage.__dataclass_fields__)


@pytest.mark.parametrize(
    "words, says",
    [
        (["recipe=tinybret"], "there is no such recipe"),
        (["task=sst"], "sst2"),
        (["method=[gpm]"], "gmp"),
        (["sed=2"], "seed"),
        (["budget.stps=3"], "steps"),
        (["methods.gmp.final=0.5"], r"method=\[gmp\]"),
        (["method=[gmp]", "methods.gmp.finl=0.5"], "final"),
        (["method=[gmp]", "methods.gmp.final=2"], "methods.gmp.*below 1"),
        (["precision=fp8"], "fp32, bf16"),
        (["method=[hype]", "precision=bf16"], "precision=fp32"),
        (["budget.steps=0"], "greater than 0"),
        (["teacher=none"], "student=base"),
        (["seed=-1"], "whole number"),
    ],
)
def test_a_slip_is_told_with_the_way_out(words, says):
    with pytest.raises(ConfigError, match=says):
        resolve(plain(compose(["preset=offline", *words])))


def test_the_identity_is_that_of_what_can_change_the_result():
    def signature(*words):
        return run("preset=offline", "recipe=kd", *words).signature

    plain_one = signature()
    assert plain_one == signature()
    for same in (
        "output_dir=elsewhere",
        "log_every=3",
        "tracking=off",
        "threads=1",
        "checkpoint.seconds=5",
        "force=true",
    ):
        assert signature(same) == plain_one, same
    # The preset's rate is of all stages, so nothing reads this one.
    assert signature("train.lr=7e-5") == plain_one
    others = [
        "seed=2",
        "budget.lr=7e-5",
        "method=[gmp]",
        "budget.steps=9",
        "task=rte",
        "teacher.epochs=1",
        "student=same",
    ]
    assert len({plain_one, *(signature(other) for other in others)}) == len(others) + 1


def test_a_teacher_nobody_looks_at_is_no_part_of_the_identity():
    one, two = (run("preset=offline", "recipe=finetune", "student=same", f"teacher.epochs={n}") for n in (1, 2))
    assert one.signature == two.signature
