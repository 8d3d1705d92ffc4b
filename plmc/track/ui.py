"""MLflow's own pages: starting them on our store, and the addresses of what they show."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import quote

from plmc.errors import TrainingError
from plmc.track.store import connect, database, is_reachable, resolve_uri

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # Looking at runs needs no queue of jobs with its own processes.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


def run_url(base: str, experiment_id: str, run_id: str) -> str:
    """Address of a run's page."""
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"


def experiment_url(base: str, experiment_id: str) -> str:
    """Address of an experiment's table of runs."""
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs"


def compare_url(base: str, experiment_ids: Sequence[str], run_ids: Sequence[str]) -> str:
    """Address of the page that compares runs side by side."""
    runs, experiments = (quote(json.dumps(list(ids), separators=(",", ":"))) for ids in (run_ids, experiment_ids))
    return f"{base.rstrip('/')}/#/compare-runs?runs={runs}&experiments={experiments}"


def free_port(host: str, wanted: int) -> int:
    """`wanted` if nobody listens there, else a port that is free."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            # As the server will: a port in TIME_WAIT counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise TrainingError(f"no free port on {host}. Name an address of this machine, e.g. --host 127.0.0.1")


@contextmanager
def running(uri: str, host: str = "127.0.0.1", port: int = 5000, *, patience: float = 60.0) -> Iterator[str]:
    """MLflow's pages on the store `uri` while the block runs; yields their address. A server's own `uri` is passed on.

    Raises:
        TrainingError: if they do not answer within `patience` seconds, with the last lines of what MLflow said.
    """
    uri = resolve_uri(uri)
    file = database(uri)
    if file is None:
        yield uri
        return
    # Made here under our lock, lest the server build a fresh store while a run does the same.
    connect(uri)
    port = free_port(host, port)
    base = f"http://{host}:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--host", host]
    command += ["--port", str(port), "--workers", "1"]
    command += ["--default-artifact-root", (file.parent / "mlartifacts").as_uri()]
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(
            command, env=os.environ | _ENVIRONMENT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            deadline = time.monotonic() + patience
            while not is_reachable(base, timeout=1.0):
                if server.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    said = "\n".join(log.read().splitlines()[-5:])
                    raise TrainingError(f"MLflow's pages did not start. It said:\n{said}")
                time.sleep(0.1)
            yield base
        finally:
            _stop(server)


def serve(uri: str, host: str = "127.0.0.1", port: int = 5000) -> None:
    """Serves MLflow's pages until Ctrl-C or SIGTERM, and prints their address; another port if `port` is taken."""
    # Left to itself SIGTERM would end this process and leave the server behind.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with running(uri, host, port) as base:
            print(f"MLflow shows the runs of {uri} at {base} (Ctrl-C ends it)", flush=True)
            while True:
                time.sleep(3600)
    except KeyboardInterrupt:
        print("MLflow's pages are closed.")
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(server: subprocess.Popen) -> None:
    # The server is a small family of processes in its own session.
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, sign)
            server.wait(timeout=5)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
