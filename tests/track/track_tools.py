"""Runs, servers and tiny models for the tracking tests."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager

from plmc.track.store import is_reachable
from plmc.track.tracker import Tracker
from plmc.track.ui import free_port

NOBODY = "http://127.0.0.1:9"


def make(folder, uri, **options):
    """A tracker that sends often and waits briefly."""
    settings = {"experiment": "test", "run_name": folder.name, "interval": 0.2, "patience": 1.0, "system_interval": 0}
    return Tracker(folder, uri=uri, **(settings | options))


def client(uri):
    from plmc.track.store import connect

    return connect(uri)


def history(uri, run_id, name):
    """All points of a metric, in order of steps."""
    return sorted((m.step, m.value) for m in client(uri).get_metric_history(run_id, name))


@contextmanager
def mlflow_server(folder, port=None):
    """A real `mlflow server` with its store in `folder`; yields (address, kill)."""
    port = port or free_port("127.0.0.1", 0)
    base = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/server.db"]
    command += ["--artifacts-destination", str(folder / "artifacts"), "--workers", "1", "--port", str(port)]
    environment = os.environ | {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with (folder / "server.log").open("a") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)

    def kill():
        if process.poll() is None:
            os.killpg(process.pid, 9)
            process.wait()

    try:
        deadline = time.monotonic() + 90
        while not is_reachable(base, timeout=1.0):
            assert process.poll() is None, (folder / "server.log").read_text()
            assert time.monotonic() < deadline, (folder / "server.log").read_text()
            time.sleep(0.1)
        yield base, kill
    finally:
        kill()
