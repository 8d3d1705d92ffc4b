"""Signals and removed folders: a word, the exit code that shells know, and a run that goes on."""

import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest
from commands import CHECKOUT, SMALL

LONG = (
    "recipe=finetune",
    "task=rte",
    "latency_rows=0",
    "budget.steps=5000",
    "train.epochs=2000",
    "log_every=1",
)


def begun(words, tmp_path):
    """A training that has made some updates, and its folder."""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "plmc", "train", *words],
        cwd=tmp_path,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # Where the tests themselves run in the background, Ctrl-C is ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not (folders := list(tmp_path.glob("outputs/*/stages/*/"))):
        assert process.poll() is None and time.monotonic() < deadline, process.stdout.read()
        time.sleep(0.05)
    time.sleep(1)
    return process, folders[0]


@pytest.mark.parametrize(
    "number, code, word",
    [
        (signal.SIGTERM, 143, "stopped by SIGTERM"),
        (signal.SIGINT, 130, "interrupted"),
    ],
)
def test_a_signal_leaves_a_checkpoint_a_word_and_its_exit_code(zoo, tmp_path, number, code, word):
    process, stage = begun([*SMALL, *LONG, f"teacher.name={zoo['bert']}"], tmp_path)
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert f"{word}; the same command goes on from here" in said and "Traceback" not in said
    assert (stage / "checkpoint.pt").is_file()


def test_a_folder_that_is_removed_while_the_run_trains_is_told_at_once(zoo, tmp_path):
    process, stage = begun([*SMALL, *LONG, f"teacher.name={zoo['bert']}"], tmp_path)
    shutil.rmtree(stage.parents[1])
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 5 and "is gone: somebody removed or moved the run" in " ".join(said.split()), said


def test_a_worker_ends_soon_after_a_parent_that_was_killed(zoo, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="pip install 'plmc[parallel]'")
    words = [
        "-m",
        *SMALL,
        *LONG,
        f"teacher.name={zoo['bert']}",
        "seed=1,2",
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
    ]
    process, _ = begun(words, tmp_path)
    family = psutil.Process(process.pid).children(recursive=True)
    assert family
    process.kill()
    process.communicate(timeout=30)
    _, alive = psutil.wait_procs(family, timeout=15)
    assert not alive
