"""A sweep of four jobs on each launcher: one is killed, the same command goes on; nothing is trained twice."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from zoo import save

LAUNCHERS = {
    "joblib": ("hydra_plugins.hydra_joblib_launcher", ("hydra.launcher.n_jobs=2",)),
    "submitit_local": ("hydra_plugins.hydra_submitit_launcher", ("hydra.launcher.cpus_per_task=1",)),
    "ray": ("hydra_plugins.hydra_ray_launcher", ()),
}
WORDS = (
    "recipe=kd",
    "task=rte",
    "data=embedded",
    "data.train_rows=64",
    "data.validation_rows=24",
    "data.test_rows=8",
    "tracking=off",
    "teacher=base",
    "teacher.seed=1",
    "teacher.epochs=1",
    "latency_rows=0",
    "budget.steps=400",
    "recipe.stages.distil.epochs=400",
    "train.eval_every=100%",
    "checkpoint.steps=10",
    "seed=1,2,3,4",
)


def holder(lock: Path) -> int | None:
    """The process that has a run's lock open."""
    psutil = pytest.importorskip("psutil")
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(Path(file.path) == lock for file in process.open_files()):
                return process.pid
    return None


def starts(output: Path) -> dict[str, int]:
    """How many updates each finished run counts, by its folder."""
    found = sorted(output.glob("kd-*/result.json"))
    return {path.parent.name: json.loads(path.read_text())["stages"][0]["steps"] for path in found}


@pytest.mark.slow
@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_killed_job_is_taken_up_and_the_others_are_left_alone(name, tmp_path):
    plugin, options = LAUNCHERS[name]
    pytest.importorskip(plugin, reason=f"the launcher {name} is not installed")
    bert, output = save(tmp_path / "bert", "bert"), tmp_path / "outputs"
    words = (*WORDS, f"teacher.name={bert}", f"output_dir={output}", f"hydra/launcher={name}", *options)
    command = [sys.executable, "-m", "plmc.cli.app", "train", "-m", *words]
    begun = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    victim, end = None, time.time() + 240
    while victim is None and begun.poll() is None and time.time() < end:
        # In the middle of its stage.
        for checkpoint in output.glob("kd-*/stages/0-distil/checkpoint.pt"):
            victim = holder(checkpoint.parents[2] / ".lock")
            name_of_victim = checkpoint.parents[2].name
        time.sleep(0.05)
    assert victim is not None, begun.communicate()[0]
    os.kill(victim, signal.SIGKILL)
    text = begun.communicate(timeout=300)[0]
    before = {path.parent.name: path.stat().st_mtime for path in output.glob("kd-*/result.json")}
    if name == "ray":  # starts the job again by itself
        assert begun.returncode == 0 and len(before) == 4, text
    else:
        assert begun.returncode == 1 and "the same command goes on" in " ".join(text.split()), text
        assert "Traceback" not in text.split("error the process of a job")[-1] and name_of_victim not in before
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=400)
    assert again.returncode == 0, again.stdout + again.stderr
    assert len(starts(output)) == 4 and set(starts(output).values()) == {400}
    after = {path.parent.name: path.stat().st_mtime for path in output.glob("kd-*/result.json")}
    assert all(after[run] == when for run, when in before.items())
    assert len(list((output / "teachers").glob("*/result.json"))) == 1
