"""A sweep is one parent run with its children, whoever reaches the store first."""

import subprocess
import sys

import pytest
from track_tools import NOBODY, client, history, make

from plmc.track import close_parent, default_uri, parent_run, send_pending
from plmc.track.identity import read


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    return tmp_path_factory.mktemp("outputs")


def parent_of(uri, run_id):
    return client(uri).get_run(run_id).data.tags.get("mlflow.parentRunId")


def test_children_hang_below_their_parent(outputs):
    uri, folder = default_uri(outputs), outputs / "sweep"
    parent = parent_run(folder, uri=uri, experiment="e", name="sweep", tags={"kind": "grid"})
    assert parent == parent_run(folder, uri=uri, experiment="e", name="sweep")
    children = []
    for seed in (1, 2):
        child = make(outputs / f"seed{seed}", uri, experiment="e", parent=folder)
        child.start({"seed": seed})
        child.finish()
        children.append(child)
    assert {parent_of(uri, child.run_id) for child in children} == {parent}
    assert parent_of(uri, parent) is None
    table = outputs / "summary.csv"
    table.write_text("seed,accuracy\n")
    for best in (0.8, 0.9):
        assert close_parent(folder, {"best": best}, table=table) == []
    run = client(uri).get_run(parent)
    assert run.info.status == "FINISHED" and run.data.tags["kind"] == "grid"
    assert history(uri, parent, "best") == [(0, 0.8), (1, 0.9)]
    assert [file.path for file in client(uri).list_artifacts(parent)] == ["summary.csv"]


def test_a_child_that_reaches_the_store_first_makes_the_parent(outputs):
    uri = default_uri(outputs)
    folder = outputs / "late"
    assert parent_run(folder, uri=NOBODY, experiment="e", name="late") is None
    # The server comes back: here, the address is corrected.
    file = folder / "tracking" / "run.json"
    file.write_text(file.read_text().replace(NOBODY, uri))
    child = make(outputs / "first", uri, experiment="e", parent=folder)
    child.start()
    child.finish()
    assert parent_of(uri, child.run_id) == read(folder / "tracking").run_id is not None
    assert parent_run(folder, uri=uri, experiment="e", name="late") == read(folder / "tracking").run_id


@pytest.mark.slow
def test_processes_that_meet_on_a_fresh_store_share_it(tmp_path):
    uri, here = default_uri(tmp_path), str(__file__).rpartition("/")[0]
    assert parent_run(tmp_path / "sweep", uri=NOBODY, experiment="e", name="s") is None
    file = tmp_path / "sweep" / "tracking" / "run.json"
    file.write_text(file.read_text().replace(NOBODY, uri))
    program = f"""
import sys
from pathlib import Path
from track_tools import make
outputs = Path({str(tmp_path)!r})
tracker = make(outputs / sys.argv[1], {uri!r}, experiment="e", parent=outputs / "sweep", patience=20.0)
tracker.start({{"n": sys.argv[1]}})
for step in range(300):
    tracker.log({{"loss": float(step)}}, step)
tracker.finish()
sys.exit(tracker.pending or len(tracker.warnings))
"""
    environment = {"PYTHONPATH": here, "OMP_NUM_THREADS": "1"}
    jobs = [
        subprocess.Popen([sys.executable, "-c", program, name], env=environment, stderr=subprocess.PIPE, text=True)
        for name in ("a", "b", "c")
    ]
    said = [job.communicate()[1] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0, 0], said
    assert said == ["", "", ""]
    assert send_pending(tmp_path) == 0
    parents = {parent_of(uri, read(tmp_path / name / "tracking").run_id) for name in "abc"}
    assert parents == {read(tmp_path / "sweep" / "tracking").run_id}
    for name in "abc":
        points = history(uri, read(tmp_path / name / "tracking").run_id, "loss")
        assert points == [(step, float(step)) for step in range(300)]
    there = client(uri)
    assert len(there.search_runs([read(tmp_path / "a" / "tracking").experiment_id])) == 4
