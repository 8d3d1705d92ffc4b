"""SIGKILL at any moment costs time and nothing else."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from crash_cases import RECIPES, words
from crash_checks import broken
from crash_kill import FROM_NOTHING, MOMENTS, Proof, plan
from fork_server import ForkServer

from plmc import files


@pytest.fixture(scope="module")
def proof(tmp_path_factory):
    with ForkServer() as server:
        made = Proof(server, tmp_path_factory.mktemp("crash"), random.Random(0))
        made.prepare(("kd",))
        yield made


def check(outcome):
    assert outcome.kills, "no kill hit the run while it was alive"
    assert not outcome.wrong, "\n".join([*outcome.kills, *outcome.wrong])


def test_killed_while_training_and_while_finishing(proof):
    check(proof.prove("kd", ["checkpoint being written", "MLflow model built"]))
    check(proof.prove("finetune", ["best weights being written"]))


@pytest.mark.slow
@pytest.mark.parametrize("case", RECIPES)
def test_every_recipe(proof, case):
    proof.prepare(("kd", "tinybert"))
    check(proof.prove(case, plan([case], 4, proof.rng)[case]))


@pytest.mark.slow
def test_killed_while_the_store_is_made_and_the_teacher_trained(proof):
    check(proof.prove("kd", [*FROM_NOTHING, None], bare=True))


def test_plan_reaches_the_number_and_keeps_to_the_order_of_time():
    planned = plan(list(RECIPES), 40, random.Random(3))
    assert sum(map(len, planned.values())) >= 40 and all(planned.values())
    order = [None, *MOMENTS]
    for moments in planned.values():
        assert moments == sorted(moments, key=order.index)


def test_every_shipped_recipe_is_killed():
    shipped = {path.stem for path in (Path(__file__).parents[2] / "conf" / "recipe").glob("*.yaml")}
    given = [word for case in RECIPES for word in words(case, Path("models"), Path("outputs"))]
    assert shipped == {word.removeprefix("recipe=") for word in given if word.startswith("recipe=")}


@pytest.mark.parametrize("name", ["result.json", "best.pt", "seen.npy", "config.yaml", "m/model.safetensors"])
def test_a_torn_file_is_noticed(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b'{"half": ')
    assert broken(tmp_path)


def test_drafts_of_dead_processes_go_and_those_of_living_ones_stay(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    drafts = {number: tmp_path / f".model.{number}.tmp" for number in (dead.pid, os.getpid(), os.getppid())}
    for draft in drafts.values():
        draft.mkdir()
        (draft / "stale").touch()
    with files.replacing(tmp_path / "model") as temporary:
        temporary.mkdir()
    assert not list((tmp_path / "model").iterdir())
    assert [path for path in tmp_path.iterdir() if path.name != "model"] == [drafts[os.getppid()]]


def test_a_folder_is_never_half_there(tmp_path, monkeypatch):
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").touch()
    seen, rename = [], os.replace

    def watched(*paths):
        seen.append(target.exists())
        rename(*paths)

    monkeypatch.setattr(os, "replace", watched)
    with files.replacing(target) as temporary:
        temporary.mkdir()
        (temporary / "new").touch()
        assert (target / "old").exists()
    assert seen == [False] and [path.name for path in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]
