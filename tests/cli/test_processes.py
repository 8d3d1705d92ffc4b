"""One run on two processes: what one process makes of it, and what is left when a process or all of them end."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from commands import CHECKOUT, SMALL, plmc
from safetensors.torch import load_file
from zoo import save

WORDS = (
    "recipe=kd",
    "method=[gmp]",
    "task=rte",
    "data=embedded",
    "data.train_rows=64",
    "data.validation_rows=24",
    "data.test_rows=8",
    "teacher.epochs=1",
    "latency_rows=0",
    "threads=1",
    "precision=fp32",
    "recipe.stages.distil.epochs=20",
    "budget.lr=1e-4",
    "checkpoint.steps=5",
    "log_every=1",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model without dropout, which would be another one in each process."""
    folder = save(tmp_path_factory.mktemp("model") / "bert", "bert")
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def start(*words, program=("-m", "plmc", "train"), **variables):
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1", **variables}
    return subprocess.Popen(
        [sys.executable, *program, *map(str, words)],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def ended(process, code=0):
    said, _ = process.communicate(timeout=300)
    assert process.returncode == code, said
    assert "Traceback" not in said
    return " ".join(said.split())


def of(output: Path):
    """The record and the weights of the one student run."""
    (path,) = output.glob("kd-*/result.json")
    return json.loads(path.read_text()), load_file(path.parent / "model" / "model.safetensors")


def furthest(one, two) -> float:
    assert one.keys() == two.keys()
    # Key biases have no gradient in exact arithmetic, so Adam steps by the sign of a rounding error.
    return max(float((one[name] - two[name]).abs().max()) for name in one if not name.endswith("key.bias"))


@pytest.fixture(scope="module")
def one(model, tmp_path_factory):
    """The output folder of a run in one process."""
    output = tmp_path_factory.mktemp("one")
    assert plmc("train", *WORDS, "tracking=off", f"teacher.name={model}", f"output_dir={output}").code == 0
    return output


def test_two_processes_make_what_one_makes_and_say_it_once(model, one, tmp_path):
    words = (*WORDS, f"teacher.name={model}", f"output_dir={tmp_path / 'two'}", "tracking.system_metrics=false")
    said = ended(start(*words, "processes=2"))
    assert said.count("stage distil") == 1 and said.count("kd+gmp") == 1
    (alone, weights), (both, again) = of(one), of(tmp_path / "two")
    assert both["metrics"] == pytest.approx(alone["metrics"], abs=1e-5)
    assert furthest(weights, again) < 1e-5
    assert both["signature"] == alone["signature"]
    assert (both["train"]["processes"], alone["train"]["processes"]) == (2, 1)
    assert both["stages"][0]["samples"] == alone["stages"][0]["samples"]
    import mlflow

    store = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'two' / 'mlflow.db'}")
    runs = store.search_runs([each.experiment_id for each in store.search_experiments()])
    assert sorted(run.info.status for run in runs) == ["FINISHED", "FINISHED"]  # the teacher's and the student's
    # torchrun finds it, and so does one process.
    found = ended(start(*words, program=("-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "plmc", "train")))
    assert found.count("finished before") == 1
    assert "finished before" in plmc("train", *words).text


@pytest.mark.parametrize(
    "words, said",
    [
        (("processes=2", "recipe=nope"), "nope"),
        (("processes=2", "train.lr=-1"), "train.lr"),
        (("processes=0",), "processes"),
        (("-m", "processes=2", "seed=1,2"), "a sweep with processes= would start processes in processes"),
    ],
)
def test_what_cannot_work_is_said_before_any_process_starts(zoo, tmp_path, words, said):
    made = plmc("train", *words, *SMALL, f"teacher.name={zoo['bert']}", f"output_dir={tmp_path}")
    assert made.code == 2 and said in made.message and made.text.count("error") == 1


def test_a_launcher_that_started_other_processes_is_not_contradicted(zoo, tmp_path, monkeypatch):
    monkeypatch.setattr("plmc.run.processes.started", lambda: 4)
    made = plmc("train", "processes=2", *SMALL, f"teacher.name={zoo['bert']}", f"output_dir={tmp_path}")
    assert made.code == 2 and "processes=2, but the launcher (torchrun, accelerate) started 4" in made.message


def trainers(process):
    """The processes that train, once there is a checkpoint, by rank."""
    found = {}
    for child in psutil.Process(process.pid).children(recursive=True):
        with child.oneshot():
            found[int(child.environ().get("RANK", -1))] = child
    return found


def reached(output: Path, process, name="checkpoint.pt"):
    deadline = time.monotonic() + 240
    while not (found := list(output.glob(f"kd-*/stages/0-distil/{name}"))):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found[0]


@pytest.mark.slow
def test_a_killed_process_or_a_stopped_run_costs_nothing(zoo, tmp_path):
    """With dropout: the noise of each process goes on where it was."""
    words = (*WORDS, "tracking=off", f"teacher.name={zoo['bert']}", "processes=2", "force=false")
    ended(start(*words, f"output_dir={tmp_path / 'whole'}"))
    _, whole = of(tmp_path / "whole")

    killed = start(*words, f"output_dir={tmp_path / 'killed'}")
    reached(tmp_path / "killed", killed)
    trainers(killed)[1].kill()
    assert "process 1 of 2 was killed. All go on from the last checkpoint" in ended(killed)
    _, again = of(tmp_path / "killed")
    assert all((again[name] == value).all() for name, value in whole.items())

    stopped = start(*words, f"output_dir={tmp_path / 'stopped'}")
    path = reached(tmp_path / "stopped", stopped)
    stopped.terminate()
    assert "stopped by SIGTERM; the same command goes on from here" in ended(stopped, 143)
    assert path.is_file()
    other = [word for word in words if word != "processes=2"]
    said = ended(start(*other, f"output_dir={tmp_path / 'stopped'}"), 5)
    assert "was made by 2 processes, and there are 1 now" in said and "processes=2" in said
    ended(start(*words, f"output_dir={tmp_path / 'stopped'}"))
    _, again = of(tmp_path / "stopped")
    assert all((again[name] == value).all() for name, value in whole.items())


@pytest.mark.slow
def test_a_killed_launcher_takes_its_processes_with_it(zoo, tmp_path):
    words = (*WORDS, "tracking=off", f"teacher.name={zoo['bert']}", "processes=2", f"output_dir={tmp_path}")
    process = start(*words)
    reached(tmp_path, process)
    workers = trainers(process)
    process.kill()
    process.wait()
    gone, alive = psutil.wait_procs(list(workers.values()), timeout=30)
    assert not alive


@pytest.mark.slow
def test_a_sharded_teacher_teaches_what_a_whole_one_teaches(model, tmp_path):
    words = (*WORDS, "tracking=off", f"teacher.name={model}", "teacher.cache=null", "train.micro_batch=5")
    ended(start(*words, f"output_dir={tmp_path / 'whole'}"))
    ended(start(*words, f"output_dir={tmp_path / 'parts'}", "teacher.sharded=true", "processes=2"))
    (alone, weights), (parts, again) = of(tmp_path / "whole"), of(tmp_path / "parts")
    assert parts["metrics"] == pytest.approx(alone["metrics"], abs=1e-5)
    assert furthest(weights, again) < 1e-5


@pytest.mark.slow
def test_a_program_of_several_processes_trains_together(model, one, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, plmc\n"
        "for seed in (1, 2):\n"
        "    run = plmc.train(*sys.argv[1:], f'seed={seed}')\n"
        "    print(run.record.train.processes, 'processes made', run.signature)\n"
    )
    words = (*WORDS, "tracking=off", f"teacher.name={model}", f"output_dir={tmp_path / 'out'}", "teacher.seed=1")
    said = ended(start(script, *words, program=("-m", "torch.distributed.run", "--nproc-per-node=2")))
    assert said.count("2 processes made") == 4 and said.count("stage distil") == 2
    (_, weights), again = (
        of(one),
        load_file(next((tmp_path / "out").glob("kd-rte-1-*")) / "model" / "model.safetensors"),
    )
    assert furthest(weights, again) < 1e-5


def test_a_program_does_not_start_processes(zoo, tmp_path):
    import plmc as face
    from plmc.errors import ConfigError

    with pytest.raises(ConfigError, match="torchrun --nproc-per-node 2"):
        face.train(*SMALL, f"teacher.name={zoo['bert']}", f"output_dir={tmp_path}", "processes=2")
