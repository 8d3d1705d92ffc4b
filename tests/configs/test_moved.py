"""Configs of earlier versions name classes where they were then."""

from importlib import import_module

import pytest
import yaml

from plmc.config import compose
from plmc.config.moved import _MOVED, current
from plmc.config.resolve import resolve
from plmc.results.pick import pick


@pytest.mark.parametrize("old, new", _MOVED.items())
def test_what_moved_is_there_under_its_name(old, new):
    module, _, name = new.rpartition(".")
    assert isinstance(getattr(import_module(module), name), type) and old.rpartition(".")[2] == name
    with pytest.raises((ImportError, AttributeError)):
        getattr(import_module(old.rpartition(".")[0]), name)


def test_paths_are_changed_at_every_depth_and_nothing_else_is():
    old, new = next(iter(_MOVED.items()))
    node = {"a": {"_target_": old, "name": old}, "b": [{"_target_": old}, 3], "_target_": "mine.Class"}
    assert current(node) == {"a": {"_target_": new, "name": old}, "b": [{"_target_": new}, 3], "_target_": "mine.Class"}


def as_then(node):
    """A config as the version wrote it that had the classes at their old places."""
    places = {new: old for old, new in _MOVED.items()}
    if isinstance(node, dict):
        return {k: places.get(v, v) if k == "_target_" else as_then(v) for k, v in node.items()}
    return [as_then(each) for each in node] if isinstance(node, list) else node


def test_a_run_made_before_the_move_is_the_same_run_and_is_picked(tmp_path):
    config = compose.plain(compose.compose(["preset=offline", "recipe=kd", "student=tinybert-4l"]))
    then = as_then(config)
    assert then["teacher"]["_target_"] == "plmc.config.TeacherSpec"
    assert resolve(then).signature == resolve(config).signature
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(then))
    assert pick(str(tmp_path), tmp_path).config == config


# What the recipes said before stages had tasks, feeds and teachers of their own.
THEN = {
    "distilbert": (
        "distil",
        {"data": "corpus", "corpus": "embedded", "corpus_rows": 90, "mlm": {"smoothing": 0.7}},
        {},
    ),
    "tinybert_general": (
        "general",
        {"data": "corpus", "corpus": "embedded", "corpus_rows": 90, "teacher": "pretrained"},
        {},
    ),
    "prune_ofa": ("prune", {"data": "corpus", "corpus": "embedded", "corpus_rows": 90, "mlm": {}}, {"train": "all"}),
}
NOW = {
    "distilbert": ("recipe.stages.distil.task.corpus=embedded", "recipe.stages.distil.task.rows=90"),
    "tinybert_general": (
        "recipe.stages.general.feeds.text.corpus=embedded",
        "recipe.stages.general.feeds.text.rows=90",
    ),
    "prune_ofa": ("recipe.stages.prepare.task.corpus=embedded", "recipe.stages.prepare.task.rows=90"),
}


@pytest.mark.parametrize("name", THEN)
def test_stages_in_the_words_of_then_are_those_of_now(name):
    config = compose.plain(compose.compose([f"recipe={name}", "teacher=minilm-l6", *NOW[name]]))
    (stage, words, options) = THEN[name]
    nodes = {key: node for key, node in config["recipe"]["stages"].items() if key != "prepare"}
    kept = {
        key: value for key, value in nodes[stage].items() if key not in ("task", "feeds", "student", "teachers", "keep")
    }
    then = {**config, "recipe": {**config["recipe"], "stages": {**nodes, stage: {**kept, **words}}}}
    then["teacher"] = {k: v for k, v in config["teacher"].items() if not k.startswith("head_")}
    then["teacher"] |= {"mlm": {"train": "auto", "epochs": 1, "steps": None, "lr": 5e-5, "head_epochs": 1, **options}}
    old, new = resolve(then), resolve(config)
    assert old.recipe == new.recipe and old.signature == new.signature


def test_a_run_without_such_stages_keeps_the_name_it_had():
    # Made by the version before stages had tasks of their own.
    words = ["preset=offline", "recipe=tinybert", "task=rte", "method=[gmp,swa]", "precision=fp32"]
    run = resolve(compose.plain(compose.compose(words)))
    assert run.signature == "tinybert-rte-1-e0c8a10839"
