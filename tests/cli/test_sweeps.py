"""Sweeps: one parent over all jobs, failures that stop nobody, and the same command for what is left."""

import json
import os

import pytest
from commands import SMALL, plmc

from plmc.config import resolve as configs
from plmc.errors import ConfigError
from plmc.run import sweep
from plmc.run.jobs import threads
from plmc.training.trainer import Trainer


@pytest.fixture
def updates(monkeypatch):
    """Counts updates; `updates.stop_at` interrupts before that one."""

    class Log(list):
        stop_at = None

    made, before = Log(), Trainer._update

    def update(self, micro):
        if made.stop_at is not None and len(made) >= made.stop_at:
            raise KeyboardInterrupt
        before(self, micro)
        made.append(self.at.step)

    monkeypatch.setattr(Trainer, "_update", update)
    return made


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Outputs that the tracked tests share: a fresh MLflow store takes seconds to make."""
    return tmp_path_factory.mktemp("sweeps") / "outputs"


@pytest.fixture
def tracked(zoo, place):
    """Words of short runs that MLflow sees."""
    words = [word for word in SMALL if word != "tracking=off"]
    quick = [
        "tracking.model=false",
        "tracking.system_metrics=false",
        "latency_rows=0",
        "checkpoint.steps=1",
        "budget.steps=2",
    ]
    return [*words, *quick, "task=rte", "teacher.seed=1", f"teacher.name={zoo['bert']}", f"output_dir={place}"]


def runs(place):
    """MLflow's runs by role: the sweeps, and the others by (recipe, seed)."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{place / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("plmc").experiment_id
    found = client.search_runs([experiment], max_results=100)
    sweeps = [run for run in found if run.data.tags["plmc.role"] == "sweep"]
    jobs = {
        (r.data.tags["plmc.recipe"], r.data.tags["plmc.seed"]): r
        for r in found
        if r.data.tags["plmc.role"] == "student"
    }
    return sweeps, jobs


def test_a_sweep_has_one_parent_takes_in_what_was_there_and_trains_nothing_twice(tracked, place, updates):
    alone = plmc("train", *tracked, "recipe=finetune", "seed=1")
    assert alone.code == 0, alone.text
    sweeps, jobs = runs(place)
    assert sweeps == [] and "mlflow.parentRunId" not in jobs["finetune", "1"].data.tags

    words = ["train", "-m", *tracked, "recipe=finetune,kd", "seed=1,2"]
    swept = plmc(*words)
    assert swept.code == 0, swept.text
    sweeps, jobs = runs(place)
    assert len(sweeps) == 1 and set(jobs) == {("finetune", "1"), ("finetune", "2"), ("kd", "1"), ("kd", "2")}
    assert {job.data.tags["mlflow.parentRunId"] for job in jobs.values()} == {sweeps[0].info.run_id}
    assert {run.info.status for run in [*sweeps, *jobs.values()]} == {"FINISHED"}
    assert sweeps[0].data.metrics["jobs"] == 4 and sweeps[0].data.metrics["jobs_failed"] == 0
    # One fine-tuning alone, three in the sweep, one teacher; 2 updates each.
    assert len(updates) == 10

    again = plmc(*words)
    assert again.code == 0 and again.text.count("finished before") == 4 and len(updates) == 10
    sweeps, jobs = runs(place)
    assert len(sweeps) == 1 and len(jobs) == 4


def test_a_run_keeps_the_parent_it_has(tracked, place):
    before = {key: job.data.tags["mlflow.parentRunId"] for key, job in runs(place)[1].items()}
    assert plmc("train", "-m", *tracked, "recipe=finetune", "seed=1,2").code == 0
    sweeps, jobs = runs(place)
    assert len(sweeps) == 2 and {key: job.data.tags["mlflow.parentRunId"] for key, job in jobs.items()} == before


def test_an_interrupted_sweep_goes_on_in_the_middle_of_a_job(tracked, place, updates):
    words = ["train", "-m", *tracked, "recipe=finetune", "seed=11,12"]
    updates.stop_at = 3
    assert plmc(*words).code == 130
    updates.stop_at = None
    assert updates == [1, 2, 1]
    again = plmc(*words)
    assert again.code == 0 and again.text.count("finished before") == 1
    assert updates == [1, 2, 1, 2]
    jobs = runs(place)[1]
    assert {jobs["finetune", seed].info.status for seed in ("11", "12")} == {"FINISHED"}
    assert len({jobs["finetune", seed].data.tags["mlflow.parentRunId"] for seed in ("11", "12")}) == 1


def test_compare_sends_what_could_not_be_sent(tracked, place):
    folder = next(place.glob("finetune-rte-1-*"))
    sent = folder / "tracking" / "sent.json"
    before = json.loads(sent.read_text())
    # As if the run had ended without its store.
    sent.unlink()
    assert plmc("compare", "--outputs", place).code == 0
    assert json.loads(sent.read_text()) == before


def test_a_failing_job_stops_no_other_and_only_it_runs_again(small, tmp_path, updates):
    words = ["train", "-m", *small, "recipe=finetune", "task=rte", "latency_rows=0", "student.layers=[0],[99],[1]"]
    for attempt in range(2):
        ended = plmc(*words)
        assert ended.code == 1 and ended.text.count("use distinct numbers from 0 to 3") >= 1
        assert "The same command runs only the failed jobs again" in ended.text
        assert len(list(tmp_path.glob("outputs/finetune-rte-1-*/result.json"))) == 2
        assert ended.text.count("finished before") == (0, 2)[attempt] and len(updates) == 8


def test_jobs_that_fail_before_they_have_a_name_are_told_apart(small, monkeypatch):
    before = configs.resolve

    def picky(config, **more):
        if more.get("command"):
            raise ConfigError(f"seed {config['seed']} is out of luck")
        return before(config, **more)

    monkeypatch.setattr(configs, "resolve", picky)
    ended = plmc("train", "-m", *small, "recipe=finetune", "seed=1,2")
    assert ended.code == 1
    table = ended.text.split("sweep\n")[-1]
    assert "seed 1 is out of luck" in table and "seed 2 is out of luck" in table


@pytest.mark.parametrize(
    "launcher, jobs",
    [
        ({"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"}, 1),
        ({"_target_": "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher", "n_jobs": 3}, 3),
        ({"_target_": "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher", "n_jobs": -1}, 8),
        ({"_target_": "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher", "n_jobs": -7}, 2),
        ({"_target_": "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher", "n_jobs": None}, 1),
    ],
)
def test_cores_are_divided_by_the_jobs_of_a_launcher(launcher, jobs, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    assert sweep._parallel(launcher) == jobs
    share = threads(jobs)
    assert share == (None if jobs == 1 else 8 // jobs)


def test_alone_a_run_takes_all_cores():
    assert threads(1) is None


def test_keys_of_a_swept_recipe_can_be_set(tracked, updates):
    words = [*tracked, "recipe=gmp_star,one_shot", "recipe.stages.prune.methods.gmp.final=0.5"]
    words += ["recipe.stages.prune.methods.gmp.initial=0.4", "tracking=off", "student.layers=[0]"]
    swept = plmc("train", "-m", *words)
    assert swept.code == 0, swept.text
    assert swept.text.count("finished") >= 2
