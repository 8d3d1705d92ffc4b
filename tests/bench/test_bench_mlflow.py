"""Bench figures on the MLflow page of a run that has ended."""

from pathlib import Path

import pytest

from plmc.results import measurements
from plmc.track import Tracker, default_uri


def record(p50):
    figures = {name: p50 for name in measurements.LOGGED}
    place = {"key": "torch_fp32", "batch": 8, "length": "real", "device": "cpu", "threads": 1, "size_bytes": 100}
    return figures | place | {"speedup": {"value": 2.0, "low": None, "high": None}}


@pytest.mark.slow
def test_a_finished_run_gets_its_figures_and_stays_finished(tmp_path):
    uri, folder = default_uri(tmp_path), tmp_path / "kd-sst2-1"
    tracker = Tracker(folder, uri=uri, experiment="e", run_name="kd", interval=0.2, system_interval=0)
    tracker.start({"a": 1})
    tracker.log({"final/accuracy": 0.8}, 10)
    tracker.finish()
    from plmc.track.store import connect

    client = connect(uri)
    ended = client.get_run(tracker.run_id).info
    warned = []
    for p50 in (4.0, 3.0):
        measurements.keep(folder, [record(p50)])
        measurements.log(folder, [record(p50)], warned.append)
    run = client.get_run(tracker.run_id)
    points = client.get_metric_history(tracker.run_id, "bench/torch_fp32/b8_real/p50_ms")
    assert sorted((point.step, point.value) for point in points) == [(0, 4.0), (1, 3.0)]
    assert run.data.metrics["final/accuracy"] == 0.8 and run.data.metrics["bench/torch_fp32/size_bytes"] == 100
    assert (run.info.status, run.info.end_time) == ("FINISHED", ended.end_time)
    assert [Path(found.path).name for found in client.list_artifacts(tracker.run_id)] == ["bench.json"]
    assert not warned


def test_a_run_without_tracking_is_left_as_it_is(tmp_path):
    measurements.keep(tmp_path, [record(4.0)])
    measurements.log(tmp_path, [record(4.0)], pytest.fail)
    assert [path.name for path in tmp_path.iterdir()] == ["bench.json"]


def test_a_run_in_training_is_left_alone_and_said(tmp_path):
    import json
    import multiprocessing

    home = tmp_path / "tracking"
    home.mkdir()
    (home / "run.json").write_text(json.dumps({"uri": "sqlite:///x", "experiment": "e", "name": "n"}))
    measurements.keep(tmp_path, [record(4.0)])
    context = multiprocessing.get_context("fork")
    held, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(home, held, done))
    other.start()
    assert held.wait(20)
    warned = []
    measurements.log(tmp_path, [record(4.0)], warned.append)
    done.set()
    other.join(20)
    assert len(warned) == 1 and "another process is training" in warned[0] and not (home / "events.jsonl").exists()


def _hold(home, held, done):
    from plmc.track.spool import lock

    kept = lock(home)
    held.set()
    done.wait(20)
    kept.release()
