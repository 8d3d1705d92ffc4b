"""A real server that dies in mid-run and comes back has everything in the end, each point once."""

import time

import pytest
from track_tools import history, make, mlflow_server

from plmc.track import send_pending
from plmc.track.pending import waiting


@pytest.mark.slow
def test_server_killed_and_restarted(tmp_path):
    (tmp_path / "server").mkdir()
    outputs = tmp_path / "outputs"
    note = tmp_path / "note.txt"
    note.write_text("written while the server was away")
    with mlflow_server(tmp_path / "server") as (base, kill):
        port = int(base.rpartition(":")[2])
        tracker = make(outputs / "run", base, patience=2.0)
        tracker.start({"seed": 1})
        assert tracker.run_id
        for step in range(50):
            tracker.log({"loss": float(step)}, step)
        deadline = time.monotonic() + 20
        while tracker.pending and time.monotonic() < deadline:
            time.sleep(0.1)
        assert tracker.pending == 0
        kill()
        began = time.monotonic()
        for step in range(50, 100):
            tracker.log({"loss": float(step)}, step)
        tracker.artifact(note)
        assert time.monotonic() - began < 1
        time.sleep(1.5)
        tracker.log({"loss": 100.0}, 100)
        began = time.monotonic()
        tracker.finish()
        assert time.monotonic() - began < 10
        assert tracker.pending == 53
        assert tracker.warnings
    assert send_pending(outputs, patience=0.5) == 53
    with mlflow_server(tmp_path / "server", port):
        assert send_pending(outputs) == 0
        assert list(waiting(outputs)) == []
        assert history(base, tracker.run_id, "loss") == [(step, float(step)) for step in range(101)]
        from track_tools import client

        run = client(base).get_run(tracker.run_id)
        assert run.info.status == "FINISHED" and run.data.params == {"seed": "1"}
        assert [file.path for file in client(base).list_artifacts(tracker.run_id)] == ["note.txt"]


@pytest.mark.slow
def test_a_server_that_comes_back_in_mid_run_is_used_again(tmp_path):
    from plmc.track.ui import free_port

    port = free_port("127.0.0.1", 0)
    tracker = make(tmp_path / "run", f"http://127.0.0.1:{port}", patience=15.0)
    tracker.start({"seed": 1})
    tracker.log({"loss": 0.0}, 0)
    assert tracker.run_id is None
    with mlflow_server(tmp_path, port) as (base, _):
        tracker.log({"loss": 1.0}, 1)
        tracker.finish()
        assert tracker.pending == 0, tracker.warnings
        assert history(base, tracker.run_id, "loss") == [(0, 0.0), (1, 1.0)]
