"""From the spool to MLflow: batches within MLflow's limits, refusals narrowed down to the event at fault."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmc.track.identity import Identity, ensure_run
from plmc.track.spool import Event, Spool, write_json
from plmc.track.store import connect, is_reachable

if TYPE_CHECKING:
    from mlflow import MlflowClient

MAX_METRICS, MAX_PARAMS, MAX_TAGS = 1000, 100, 100
# The server's word on the event itself; everything else (locked, full, forbidden, away) may pass.
_FINAL = frozenset({"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE"})
# MLflow calls every error of its database a bad request. SQLAlchemy ends its own with one of these.
_SQL = ("[SQL:", "sqlalche.me/e/")
# What two processes do to each other passes at once; what remains after that many tries is a fault of the event.
_SQL_TRIES, _SQL_PAUSE = 5, 0.2


class Unreachable(Exception):
    """The store does not answer; the events stay in the spool."""


class Courier:
    """Sends the spool of one run. Not thread-safe: one thread at a time.

    `warn(text)` hears of events that MLflow refuses for good; they stay in the spool file but are not tried again.
    """

    def __init__(self, spool: Spool, warn: Callable[[str], None]):
        self.spool = spool
        self.warn = warn
        self._client: MlflowClient | None = None
        self.identity: Identity | None = None

    def reach(self, uri: str) -> Identity:
        """Connects, and makes the MLflow run if there is none. Raises Unreachable or an error of MLflow."""
        if not is_reachable(uri):
            raise Unreachable(f"{uri} does not answer")
        if self._client is None:
            self._client = connect(uri)
        if self.identity is None:
            self.identity, made = ensure_run(self._client, self.spool.folder)
            if made:
                self.spool.rewind()
        return self.identity

    def send(self, uri: str, progress: Callable[[int], None] = lambda delivered: None) -> None:
        """Sends all that waits, values first. `progress(n)` is called at contact with 0, then with n events
        delivered."""
        try:
            self._send(uri, progress)
        except Exception:
            # Before the next try, see whether the run is still what it was.
            self.identity = None
            raise

    def _send(self, uri: str, progress: Callable[[int], None]) -> None:
        self.reach(uri)
        progress(0)
        for batch in batches(self.spool.unsent("values")):
            self._offer([event for event, _ in batch])
            self.spool.mark("values", batch[-1][1], len(batch))
            progress(len(batch))
        for event, offset in self.spool.unsent("files"):
            staged = self.spool.folder / event["staged"]
            if staged.exists():
                self._offer([event])
            else:
                self.warn(f"{_describe(event)} was not sent: its files are not there any more")
            self.spool.mark("files", offset, 1)
            if event["kind"] == "model":
                # The weights are in the store now; the links would only keep their blocks from being freed.
                shutil.rmtree(staged, ignore_errors=True)
                _ticket(staged, self.identity).unlink(missing_ok=True)
            progress(1)

    def _offer(self, events: list[Event]) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._deliver_patiently(events)
        except MlflowException as error:
            if error.error_code not in _FINAL or self._is_deleted():
                raise
            if len(events) > 1:
                half = len(events) // 2
                self._offer(events[:half])
                self._offer(events[half:])
            elif len(parts := list(_split(events[0]))) > 1:
                for part in parts:
                    self._offer([part])
            else:
                self.warn(f"MLflow refused {_describe(events[0])}: {str(error).splitlines()[0]}")

    def _deliver_patiently(self, events: list[Event]) -> None:
        """`_deliver`, again after an error of the database: another process may have put in the same row."""
        from mlflow.exceptions import MlflowException

        for attempt in range(_SQL_TRIES):
            try:
                return self._deliver(events)
            except MlflowException as error:
                if attempt == _SQL_TRIES - 1 or not any(sign in str(error) for sign in _SQL):
                    raise
                time.sleep(_SQL_PAUSE * attempt)

    def _is_deleted(self) -> bool:
        return self._client.get_run(self.identity.run_id).info.lifecycle_stage == "deleted"

    def _deliver(self, events: list[Event]) -> None:
        from mlflow.entities import Metric, Param, RunTag

        client, run = self._client, self.identity.run_id
        event = events[0]
        kind = event["kind"]
        if kind == "metrics":
            points = [Metric(k, v, e["time"], e["step"]) for e in events for k, v in e["values"].items()]
            for begin in range(0, len(points), MAX_METRICS):
                client.log_batch(run, metrics=points[begin : begin + MAX_METRICS])
        elif kind == "params":
            for chunk in _chunks(event["values"], MAX_PARAMS):
                client.log_batch(run, params=[Param(k, v) for k, v in chunk.items()])
        elif kind == "tags":
            for chunk in _chunks(event["values"], MAX_TAGS):
                client.log_batch(run, tags=[RunTag(k, v) for k, v in chunk.items()])
        elif kind == "input":
            client.log_inputs(run, datasets=[_dataset(event)])
        elif kind == "status":
            if event["status"] == "RUNNING":
                client.update_run(run, status="RUNNING")
            else:
                client.set_terminated(run, status=event["status"], end_time=event["time"])
        elif kind == "artifact":
            staged = self.spool.folder / event["staged"]
            if staged.is_dir():
                client.log_artifacts(run, str(staged), event["folder"] or None)
            else:
                client.log_artifact(run, str(staged), event["folder"] or None)
        elif kind == "model":
            _log_model(client, self.identity, self.spool.folder / event["staged"], event)
        else:
            raise ValueError(f"no such kind of event: {kind}")


def batches(events: Iterator[tuple[Event, int]]) -> Iterator[list[tuple[Event, int]]]:
    """Runs of metric events of up to MAX_METRICS values together; every other event alone. Keeps the order."""
    batch: list[tuple[Event, int]] = []
    size = 0
    for event, offset in events:
        count = len(event["values"]) if event["kind"] == "metrics" else 0
        if batch and (count == 0 or size + count > MAX_METRICS):
            yield batch
            batch, size = [], 0
        batch.append((event, offset))
        size += count
        if count == 0:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _split(event: Event) -> Iterator[Event]:
    if event["kind"] in ("metrics", "params", "tags"):
        for name, value in event["values"].items():
            yield {**event, "values": {name: value}}
    else:
        yield event


def _chunks(values: dict[str, Any], size: int) -> Iterator[dict[str, Any]]:
    items = list(values.items())
    for begin in range(0, len(items), size):
        yield dict(items[begin : begin + size])


def _describe(event: Event) -> str:
    what = ", ".join(event["values"]) if "values" in event else event.get("name") or event.get("staged") or ""
    return f"{event['kind']} {what}".strip()


def _dataset(event: Event):
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=event["name"],
        digest=event["digest"],
        source_type=event["origin"],
        source=json.dumps(event["source"]),
        profile=json.dumps({"num_rows": event["rows"]}),
    )
    return DatasetInput(dataset, tags=[InputTag("mlflow.data.context", event["context"])])


def _ticket(staged: Path, identity: Identity) -> Path:
    return staged.with_name(f"{staged.name}.{identity.run_id}.json")


def _begun(client: MlflowClient, identity: Identity, name: str):
    """A logged model of this run that a process made, and was killed before it could note that."""
    from mlflow.entities import LoggedModelStatus

    found = client.search_logged_models([identity.experiment_id], filter_string=f"source_run_id = '{identity.run_id}'")
    return next((m for m in found if m.name == name and m.status == LoggedModelStatus.PENDING), None)


def _log_model(client: MlflowClient, identity: Identity, staged: Path, event: Event) -> None:
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    # A sending that broke off goes on with the same logged model.
    ticket = _ticket(staged, identity)
    if ticket.exists():
        model = client.get_logged_model(json.loads(ticket.read_text())["model_id"])
    else:
        model = _begun(client, identity, event["name"]) or client.create_logged_model(
            identity.experiment_id, name=event["name"], source_run_id=identity.run_id, model_type=event["model_type"]
        )
        write_json(ticket, {"model_id": model.model_id})
    described = Model.load(str(staged / "MLmodel"))
    described.run_id, described.model_id, described.model_uuid = identity.run_id, model.model_id, model.model_id
    described.artifact_path = model.artifact_location
    described.save(str(staged / "MLmodel"))
    client.log_model_artifacts(model.model_id, str(staged))
    # The store refuses a second link between the same two, which a sending that broke off may have made.
    linked = client.get_run(identity.run_id).outputs
    if model.model_id not in {output.model_id for output in (linked.model_outputs if linked else ())}:
        client.log_outputs(identity.run_id, [LoggedModelOutput(model.model_id, step=event["step"])])
    client.finalize_logged_model(model.model_id, "READY")
