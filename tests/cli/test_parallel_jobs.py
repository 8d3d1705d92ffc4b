"""Two jobs of a sweep at once: one teacher between them, one parent over them, cores divided."""

import json
import subprocess
import sys

import pytest
from commands import SMALL

pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="pip install 'plmc[parallel]'")


@pytest.mark.slow
def test_two_jobs_at_once_train_one_teacher(zoo, tmp_path):
    words = [word for word in SMALL if word not in ("tracking=off", "threads=1")]
    words += [
        "tracking.model=false",
        "tracking.system_metrics=false",
        "latency_rows=0",
        "task=rte",
        "recipe=kd",
        "seed=1,2",
    ]
    words += [f"teacher.name={zoo['bert']}", "teacher.seed=1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    command = [sys.executable, "-m", "plmc.cli.app", "train", "-m", *words]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stdout + ended.stderr

    from mlflow import MlflowClient

    results = [json.loads(path.read_text()) for path in sorted((tmp_path / "outputs").glob("kd-rte-*/result.json"))]
    assert [result["seed"] for result in results] == [1, 2]
    assert len(list((tmp_path / "outputs" / "teachers").glob("*/result.json"))) == 1
    client = MlflowClient(f"sqlite:///{tmp_path / 'outputs' / 'mlflow.db'}")
    jobs = [client.get_run(result["mlflow"]["run_id"]) for result in results]
    assert len({job.data.tags["mlflow.parentRunId"] for job in jobs}) == 1
    assert {job.info.status for job in jobs} == {"FINISHED"}

    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0 and (again.stdout + again.stderr).count("finished before") == 2
