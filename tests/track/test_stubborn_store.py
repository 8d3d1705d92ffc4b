"""A store that answers and takes nothing: the run ends all the same, keeps its events, and says so."""

import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from track_tools import client, history, make

from plmc.track import default_uri, parent_run, send_pending
from plmc.track.tracker import Tracker


@contextmanager
def answering(status: int, body: bytes, kind: str = "application/json"):
    """A server on loopback that gives every request the same answer."""

    class Same(BaseHTTPRequestHandler):
        def answer(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

        def log_message(self, *arguments): ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Same)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def ended(tracker: Tracker) -> float:
    """Seconds that the end took."""
    began = time.monotonic()
    tracker.finish()
    return time.monotonic() - began


def test_artifacts_that_cannot_be_written_do_not_keep_a_run_from_ending(tmp_path, monkeypatch):
    from mlflow import MlflowClient

    uri = default_uri(tmp_path)
    note = tmp_path / "note.txt"
    note.write_text("kept")
    take = MlflowClient.log_artifact

    def refuse(*arguments):
        raise PermissionError(13, "Permission denied", "mlartifacts")

    monkeypatch.setattr(MlflowClient, "log_artifact", refuse)
    tracker = make(tmp_path / "run", uri)
    tracker.start({"seed": 1})
    tracker.log({"loss": 1.0}, 1)
    tracker.artifact(note)
    assert ended(tracker) < 10
    assert tracker.pending == 1
    assert "1 event has not reached" in tracker.warnings[-1] and "Permission denied" in tracker.warnings[-1]
    assert "plmc sync" in tracker.warnings[-1]
    # What could be sent is there, and the rest goes when the store takes it again.
    assert history(uri, tracker.run_id, "loss") == [(1, 1.0)]
    monkeypatch.setattr(MlflowClient, "log_artifact", take)
    assert send_pending(tmp_path) == 0
    assert [file.path for file in client(uri).list_artifacts(tracker.run_id)] == ["note.txt"]


@pytest.mark.parametrize(
    "status, body, kind, told",
    [
        (200, b"{}", "application/json", "not as an MLflow server"),
        (200, b"<html>welcome</html>", "text/html", ""),
        (401, b"Unauthorized", "text/plain", "401"),
        (404, b"<html>nothing here</html>", "text/html", "404"),
        (500, b"oops", "text/plain", "500"),
    ],
)
def test_a_server_that_gives_the_same_answer_to_everything_does_not_keep_a_run_from_ending(
    tmp_path, status, body, kind, told
):
    with answering(status, body, kind) as uri:
        tracker = make(tmp_path / "run", uri)
        tracker.start({"seed": 1})
        for step in range(3):
            tracker.log({"loss": float(step)}, step)
        assert ended(tracker) < 15
    assert tracker.pending > 0
    assert told in tracker.warnings[-1] and uri in tracker.warnings[-1]


def test_a_sweep_begins_although_its_store_refuses(tmp_path):
    with answering(401, b"Unauthorized", "text/plain") as uri:
        assert parent_run(tmp_path / "sweep", uri=uri, experiment="test", name="sweep") is None


def test_a_row_that_two_processes_put_in_at_once_is_put_in_again(tmp_path, monkeypatch):
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import BAD_REQUEST

    uri = default_uri(tmp_path)
    put, tries = MlflowClient.log_inputs, []

    def meet_another(self, *arguments, **named):
        tries.append(1)
        if len(tries) < 3:
            text = (
                "(sqlite3.IntegrityError) UNIQUE constraint failed: datasets.experiment_id, datasets.name, "
                "datasets.digest\n[SQL: INSERT INTO datasets …]\n(Background on this error at: https://sqlalche.me/e/20/gkpj)"
            )
            raise MlflowException(text, error_code=BAD_REQUEST)
        return put(self, *arguments, **named)

    monkeypatch.setattr(MlflowClient, "log_inputs", meet_another)
    tracker = make(tmp_path / "run", uri)
    tracker.start()
    tracker.input(name="sst2/train", source="glue", rows=10, digest="d", context="train")
    tracker.finish()
    assert (tracker.pending, tracker.warnings) == (0, [])
    (found,) = client(uri).get_run(tracker.run_id).inputs.dataset_inputs
    assert found.dataset.name == "sst2/train"


def test_an_error_of_the_database_that_stays_is_the_events_own(tmp_path, monkeypatch):
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import BAD_REQUEST

    def never(*arguments, **named):
        raise MlflowException("(sqlite3.DataError) too long\n[SQL: INSERT …]", error_code=BAD_REQUEST)

    monkeypatch.setattr("plmc.track.send._SQL_PAUSE", 0.0)
    monkeypatch.setattr(MlflowClient, "log_inputs", never)
    tracker = make(tmp_path / "run", default_uri(tmp_path))
    tracker.start()
    tracker.input(name="sst2/train", source="glue", rows=10, digest="d", context="train")
    tracker.log({"loss": 1.0}, 1)
    tracker.finish()
    assert tracker.pending == 0 and "refused input sst2/train" in tracker.warnings[0]
    assert history(tracker.uri, tracker.run_id, "loss") == [(1, 1.0)]
