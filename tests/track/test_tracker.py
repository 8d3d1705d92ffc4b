"""What is tracked arrives in a local store once and unchanged, also after crashes, resumes and moves."""

import math
import subprocess
import sys
import time

import pytest
from track_tools import NOBODY, client, history, make

from plmc.errors import ConfigError, TrainingError
from plmc.track import LocalHistory, Tracker, default_uri, reopened, send_pending
from plmc.track.store import resolve_uri
from plmc.track.values import flatten


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    # One store for the module: building one takes seconds.
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture
def uri(outputs):
    return default_uri(outputs)


@pytest.fixture
def folder(outputs, request):
    return outputs / request.node.name


def test_everything_arrives_as_it_was_given(folder, uri):
    tracker = make(folder, uri, tags={"git": "abc"})
    tracker.start({"task": {"name": "sst2", "lr": 1e-4}, "method": ["kd", "gmp"], "config": "x" * 9000})
    for step in range(1500):
        tracker.log({"loss": 1 / (step + 1), "loss/kd": step}, step)
    tracker.log({"odd": math.nan, "bracket[0]": 2.0}, 3)
    tracker.input(name="sst2", source="glue", rows=67349, digest="f" * 64, context="train", origin="hub")
    report = folder / "report.json"
    report.write_text("{}")
    tracker.artifact(report, "reports")
    tracker.finish()
    assert (tracker.pending, tracker.warnings) == (0, [])

    run = client(uri).get_run(tracker.run_id)
    assert run.info.status == "FINISHED" and run.info.run_name == folder.name
    assert run.data.params.pop("config") == "x" * 5999 + "…"
    assert run.data.params == {"task.name": "sst2", "task.lr": "0.0001", "method": "kd, gmp"}
    assert run.data.tags["git"] == "abc"
    assert history(uri, tracker.run_id, "loss") == [(step, 1 / (step + 1)) for step in range(1500)]
    assert math.isnan(run.data.metrics["odd"]) and run.data.metrics["bracket_0_"] == 2.0
    data = run.inputs.dataset_inputs[0]
    assert (data.dataset.name, data.dataset.digest, data.tags[0].value) == ("sst2", "f" * 36, "train")
    assert [file.path for file in client(uri).list_artifacts(tracker.run_id, "reports")] == ["reports/report.json"]


def test_what_is_added_to_a_finished_run_moves_neither_its_status_nor_its_end(folder, uri):
    tracker = make(folder, uri)
    tracker.start()
    tracker.log({"final/accuracy": 0.8}, 10)
    tracker.finish()
    ended = client(uri).get_run(tracker.run_id).info
    for size in (7.0, 5.0):
        with reopened(folder, pytest.fail) as again:
            again.log({"export/size": size}, again.next_step("export/"))
    run = client(uri).get_run(tracker.run_id)
    assert (run.info.status, run.info.end_time) == ("FINISHED", ended.end_time)
    assert history(uri, tracker.run_id, "export/size") == [(0, 7.0), (1, 5.0)]
    assert history(uri, tracker.run_id, "final/accuracy") == [(10, 0.8)]


def test_a_run_that_was_not_tracked_is_not_reopened(tmp_path):
    with reopened(tmp_path, pytest.fail) as tracker:
        assert tracker is None
    assert not list(tmp_path.iterdir())


def test_a_resumed_run_goes_on_and_drops_points_it_has(folder, uri):
    first = make(folder, uri)
    first.start({"seed": 1})
    for step in range(10):
        first.log({"loss": float(step)}, step)
    first.finish("FAILED")
    assert client(uri).get_run(first.run_id).info.status == "FAILED"

    second = make(folder, uri)
    second.start({"seed": 1})
    for step in range(5, 15):
        second.log({"loss": float(step), "late": 1.0}, step)
    second.finish()
    assert second.run_id == first.run_id and second.warnings == []
    assert history(uri, second.run_id, "loss") == [(step, float(step)) for step in range(15)]
    assert history(uri, second.run_id, "late") == [(step, 1.0) for step in range(5, 15)]
    assert client(uri).get_run(first.run_id).info.status == "FINISHED"


def test_a_changed_param_keeps_its_first_value_and_is_told(folder, uri):
    for seed in (1, 2):
        tracker = make(folder, uri)
        tracker.start({"seed": seed, f"new{seed}": 0})
        tracker.finish()
    assert client(uri).get_run(tracker.run_id).data.params == {"seed": "1", "new1": "0", "new2": "0"}
    assert any("seed" in text for text in tracker.warnings)


def test_a_killed_process_loses_nothing_it_logged(folder, uri):
    program = f"""
import os, signal
from pathlib import Path
from track_tools import make
tracker = make(Path({str(folder)!r}), {uri!r}, interval=60.0)
tracker.start()
for step in range(100):
    tracker.log({{"loss": float(step)}}, step)
os.kill(os.getpid(), signal.SIGKILL)
"""
    here = str(__file__).rpartition("/")[0]
    done = subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": here, "OMP_NUM_THREADS": "1"})
    assert done.returncode == -9
    with (folder / "tracking" / "events.jsonl").open("ab") as spool:
        spool.write(b'{"kind":"metrics","step":100,"ti')
    tracker = make(folder, uri)
    tracker.start()
    for step in range(90, 110):
        tracker.log({"loss": float(step)}, step)
    tracker.finish()
    assert history(uri, tracker.run_id, "loss") == [(step, float(step)) for step in range(110)]


def test_a_crash_between_sending_and_marking_is_harmless(folder, uri):
    first = make(folder, uri)
    first.start({"seed": 1})
    first.log({"loss": 1.0}, 0)
    first.input(name="d", source="s", rows=1, digest="d", context="train")
    first.finish()
    (folder / "tracking" / "sent.json").unlink()
    second = make(folder, uri)
    second.start({"seed": 1})
    assert second.pending > 0
    second.finish()
    assert (second.pending, second.warnings) == (0, [])
    assert history(uri, second.run_id, "loss") == [(0, 1.0)]
    assert len(client(uri).get_run(second.run_id).inputs.dataset_inputs) == 1


def test_a_crash_while_the_run_is_made_does_not_make_two(folder, uri):
    import json

    first = make(folder, uri)
    first.start()
    first.finish()
    file = folder / "tracking" / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"run_id": None, "experiment_id": None}))
    second = make(folder, uri)
    second.start()
    second.finish()
    assert second.run_id == first.run_id


def test_a_run_tracked_elsewhere_takes_its_whole_history_along(folder, uri, tmp_path):
    (tmp_path / "note.txt").write_text("kept")
    first = make(folder, uri)
    first.start({"seed": 1})
    first.log({"loss": 1.0}, 0)
    first.artifact(tmp_path / "note.txt")
    first.finish()
    before = first.run_id
    second = make(folder, uri, experiment="another")
    second.start({"seed": 1})
    second.log({"loss": 2.0}, 1)
    second.finish()
    assert second.run_id != before and second.warnings == []
    assert history(uri, second.run_id, "loss") == [(0, 1.0), (1, 2.0)]
    assert [file.path for file in client(uri).list_artifacts(second.run_id)] == ["note.txt"]


def test_a_deleted_run_is_restored(folder, uri):
    first = make(folder, uri)
    first.start()
    first.finish()
    client(uri).delete_run(first.run_id)
    second = make(folder, uri)
    second.start()
    second.log({"loss": 1.0}, 0)
    second.finish()
    assert second.run_id == first.run_id
    assert client(uri).get_run(first.run_id).info.lifecycle_stage == "active"


def test_artifacts_are_sent_as_they_were_and_when_they_change(folder, uri, tmp_path):
    tracker = make(folder, uri, interval=60.0)
    tracker.start()
    file, tree = tmp_path / "table.md", tmp_path / "plots"
    tree.mkdir()
    (tree / "a.svg").write_text("<svg/>")
    file.write_text("first")

    def events() -> int:
        # All of the file: `pending` falls while the sender is at work.
        return (folder / "tracking" / "events.jsonl").read_text().count('"kind":"artifact"')

    tracker.artifact(file)
    tracker.artifact(tree, "figures")
    assert events() == 2
    tracker.artifact(file)
    tracker.artifact(tree, "figures")
    assert events() == 2
    file.write_text("second")
    tracker.artifact(file)
    file.write_text("never given to the tracker")
    assert events() == 3
    tracker.artifact(tmp_path / "absent.txt")
    tracker.finish()
    assert len(tracker.warnings) == 1 and "absent.txt" in tracker.warnings[0]
    there = client(uri)
    from pathlib import Path

    assert Path(there.download_artifacts(tracker.run_id, "table.md", str(tmp_path / "got"))).read_text() == "second"
    assert [f.path for f in there.list_artifacts(tracker.run_id, "figures/plots")] == ["figures/plots/a.svg"]


def test_what_mlflow_refuses_does_not_hold_up_the_rest(folder, uri):
    tracker = make(folder, uri)
    tracker.start()
    for step in range(20):
        tracker.log({"loss": 1.0, "bad/../name": 1.0} if step == 7 else {"loss": 1.0}, step)
    tracker.finish()
    assert tracker.pending == 0
    assert len(tracker.warnings) == 1 and "bad/../name" in tracker.warnings[0]
    assert [step for step, _ in history(uri, tracker.run_id, "loss")] == list(range(20))


def test_two_runs_in_one_process_do_not_see_each_other(folder, uri):
    import mlflow

    runs = [make(folder / name, uri, run_name=name) for name in ("one", "two")]
    for run in runs:
        run.start()
    for step in range(5):
        for number, run in enumerate(runs):
            run.log({"loss": float(number)}, step)
    assert mlflow.active_run() is None
    for run in runs:
        run.finish()
    assert runs[0].run_id != runs[1].run_id
    for number, run in enumerate(runs):
        assert history(uri, run.run_id, "loss") == [(step, float(number)) for step in range(5)]


def test_a_second_writer_of_the_same_run_is_refused(folder, uri):
    first = make(folder, uri)
    first.start()
    with pytest.raises(TrainingError, match="another process"):
        make(folder, uri).start()
    first.finish()
    second = make(folder, uri)
    second.start()
    second.finish()


def test_an_absent_server_costs_no_time_and_loses_nothing(tmp_path):
    tracker = make(tmp_path / "run", NOBODY, patience=0.5)
    began = time.monotonic()
    tracker.start({"seed": 1})
    for step in range(200):
        tracker.log({"loss": 1.0}, step)
    logged = time.monotonic() - began
    tracker.finish()
    assert time.monotonic() - began - logged < 5
    assert tracker.run_id is None
    assert tracker.pending == 202
    assert "202 events" in tracker.warnings[-1]
    assert send_pending(tmp_path, patience=0.2) == 202


def test_system_load_is_sampled_and_goes_on_counting(folder, uri):
    for _ in range(2):
        tracker = make(folder, uri, system_interval=0.05)
        tracker.start()
        time.sleep(0.4)
        tracker.finish()
    points = history(uri, tracker.run_id, "system/cpu_utilization_percentage")
    assert len(points) >= 4
    assert [step for step, _ in points] == list(range(len(points)))
    memory = client(uri).get_run(tracker.run_id).data.metrics["system/system_memory_usage_percentage"]
    assert 0 < memory <= 100


def test_gpus_are_read_from_the_driver_tool(tmp_path, monkeypatch):
    from plmc.track.system import sample

    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho '0, 93, 1000, 4000'\necho '1, [N/A], 10, 4000'\necho '2, [N/A], [N/A], [N/A]'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    gpus = {name: value for name, value in sample(tmp_path).items() if "gpu" in name}
    assert gpus == {
        "system/gpu_0_utilization_percentage": 93.0,
        "system/gpu_0_memory_usage_megabytes": 1000.0,
        "system/gpu_0_memory_usage_percentage": 25.0,
        "system/gpu_1_memory_usage_megabytes": 10.0,
        "system/gpu_1_memory_usage_percentage": 0.25,
    }
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert not any("gpu" in name for name in sample(tmp_path))


def test_flatten_keeps_every_leaf():
    assert flatten({"a": {"b": {"c": 1}, "d": None}, "e": [1, "x"], "f": "t", "g": {}}) == {
        "a.b.c": "1",
        "a.d": "None",
        "e": "1, x",
        "f": "t",
    }


def test_a_store_of_another_kind_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="sqlite:////path"):
        Tracker(tmp_path, uri="./mlruns", experiment="e", run_name="r")
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_PASSWORD"):
        resolve_uri("https://me:secret@host/mlflow")
    assert resolve_uri("http://host:5000/") == "http://host:5000"


def test_the_local_history_takes_the_same_calls():
    import inspect

    for name in ("start", "log", "input", "artifact", "model", "finish"):
        assert inspect.signature(getattr(LocalHistory, name)) == inspect.signature(getattr(Tracker, name)), name


def test_importing_the_package_does_not_import_mlflow():
    code = "import sys, plmc.track; sys.exit(any(m in sys.modules for m in ('mlflow', 'torch', 'psutil')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_local_history_keeps_the_curves(tmp_path):
    from plmc.report.plots import history

    local = LocalHistory(tmp_path)
    local.start({"a": 1})
    local.log({"loss": 2.0}, 1)
    local.log({"loss": 1.0}, 2)
    local.log({"loss": 1.5}, 2)
    steps, values = history(tmp_path / "tracking" / "events.jsonl")["loss"]
    assert steps.tolist() == [1, 2] and values.tolist() == [2.0, 1.5]


def _about_to_send_a_model(folder, uri, tmp_path):
    from mlflow.models import Model

    from plmc.track import identity as identities

    tracker = make(folder, uri)
    tracker.start()
    identity, staged = identities.read(folder / "tracking"), tmp_path / "staged"
    staged.mkdir()
    Model().save(str(staged / "MLmodel"))
    event = {"kind": "model", "name": "model", "model_type": "classification", "step": 0}
    return tracker, identity, staged, event


def test_a_model_that_was_made_but_not_noted_is_taken_up(folder, uri, tmp_path, monkeypatch):
    """A process killed between the store's answer and the note of it left a second model PENDING for ever."""
    from mlflow import MlflowClient

    from plmc.track import send

    tracker, identity, staged, event = _about_to_send_a_model(folder, uri, tmp_path)
    note = send.write_json
    monkeypatch.setattr(send, "write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        send._log_model(client(uri), identity, staged, event)
    monkeypatch.setattr(send, "write_json", note)
    send._log_model(client(uri), identity, staged, event)
    tracker.finish()
    models = MlflowClient(uri).search_logged_models([identity.experiment_id])
    assert [str(model.status) for model in models] == ["READY"]


def test_a_draft_of_a_dead_process_goes_and_one_of_a_living_stays(tmp_path):
    from plmc.files import remove_drafts
    from plmc.track.spool import write_json

    (tmp_path / f".run.json.1.{2**22 + 1}.tmp").touch()
    (tmp_path / ".sent.json.1.1.tmp").touch()  # the first process of all lives
    write_json(tmp_path / "run.json", {})
    remove_drafts(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".sent.json.1.1.tmp", "run.json"]


def test_a_model_whose_sending_broke_off_at_its_end_is_finished_by_the_next(folder, uri, tmp_path, monkeypatch):
    from mlflow import MlflowClient

    from plmc.track.send import _log_model

    tracker, identity, staged, event = _about_to_send_a_model(folder, uri, tmp_path)
    finalize = MlflowClient.finalize_logged_model
    monkeypatch.setattr(MlflowClient, "finalize_logged_model", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        _log_model(client(uri), identity, staged, event)
    monkeypatch.setattr(MlflowClient, "finalize_logged_model", finalize)
    _log_model(client(uri), identity, staged, event)
    tracker.finish()
    outputs = client(uri).get_run(tracker.run_id).outputs.model_outputs
    assert len(outputs) == 1 and str(client(uri).get_logged_model(outputs[0].model_id).status) == "READY"
