"""The package in `examples/package`: installed, it adds a method, a kind of task and a task, and passes the suites."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WORDS = ["recipe=kd", "task=topics", "method=[label_smoothing]", "preset=[offline,smoke]", "tracking=off", "threads=1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """`run(*words)` runs Python with the package installed, in a folder of its own."""
    place, here = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("here")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(place), str(ROOT / "examples" / "package")], check=True, timeout=300)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(place)])}

    def run(*words):
        done = subprocess.run(
            [sys.executable, *words], cwd=here, env=environment, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run.here = here
    return run


def test_it_passes_the_suites_of_methods_and_heads(run):
    where = str(ROOT / "examples" / "package" / "tests")
    # Without options of the checkout around it, one of which would take the summary away.
    told = run("-m", "pytest", "-o", "addopts=", "-p", "no:cacheprovider", "-m", "not slow", where)
    assert int(re.search(r"(\d+) passed", told)[1]) > 60 and "failed" not in told


def test_its_options_are_options(run):
    assert "label_smoothing" in run("-m", "plmc", "ls", "methods") and "topics" in run("-m", "plmc", "ls", "tasks")


def test_its_task_trains_answers_and_sweeps(run):
    run("-m", "plmc", "train", *WORDS, "teacher.epochs=1", "seed=1")
    run("-m", "plmc", "train", "-m", *WORDS, "teacher.epochs=1", "seed=1,2")
    records = [json.loads(path.read_text()) for path in run.here.glob("outputs/*/result.json")]
    assert {record["seed"] for record in records} == {1, 2} and all("micro_f1" in r["metrics"] for r in records)
    answer = json.loads(run("-m", "plmc", "predict", "kd-topics-1", "on friday the baker talked about bread"))
    assert isinstance(answer["label"], list) and set(answer["scores"]) == {"weather", "food", "travel", "money"}
    assert "kd" in run("-m", "plmc", "compare")
