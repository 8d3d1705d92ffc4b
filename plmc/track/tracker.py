"""A run's connection to MLflow: everything goes to the spool first and is sent from there in the background."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from plmc.errors import TrainingError
from plmc.files import copy, replacing
from plmc.track import identity as identities
from plmc.track.background import Sender
from plmc.track.identity import Identity
from plmc.track.spool import Spool, lock
from plmc.track.store import database, load_mlflow, resolve_uri
from plmc.track.system import Sampler
from plmc.track.values import MAX_DIGEST, MAX_TAG, content_digest, flatten, metric_name, now

if TYPE_CHECKING:
    from plmc.heads.base import Head

Status = Literal["FINISHED", "FAILED", "KILLED"]


class Tracker:
    """Tracks one run in `folder` (its spool is `<folder>/tracking`). A store that is away never stops or slows
    training.

    After `finish`, `pending` counts events that still wait for `send_pending`, and `warnings` says what went wrong.

    Attributes:
        uri: `sqlite:///…`, `http://…` or `https://…`.
        parent: the folder of the parent run (see `parent_run`) or an MLflow run id.
        interval: seconds between sendings.
        patience: seconds that `finish` waits for a store that does not answer.
        system_interval: seconds between samples of the machine's load; 0: none.

    Raises:
        ConfigError: for a `uri` of another kind.
        TrainingError: another process tracks this run, or the spool cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        *,
        uri: str,
        experiment: str,
        run_name: str,
        parent: Path | str | None = None,
        tags: Mapping[str, str] | None = None,
        interval: float = 5.0,
        patience: float = 10.0,
        system_interval: float = 10.0,
    ):
        self.folder = Path(folder).resolve()
        self._home = self.folder / "tracking"
        if isinstance(parent, Path):
            parent = str(parent.resolve() / "tracking")
        tags = {metric_name(name): str(value)[:MAX_TAG] for name, value in (tags or {}).items()}
        self._wanted = Identity(resolve_uri(uri), experiment, run_name, parent, tags)
        self._interval, self._patience, self._system_interval = interval, patience, system_interval
        self._spool: Spool | None = None
        self._sender: Sender | None = None
        self._sampler: Sampler | None = None
        self.warnings: list[str] = []

    def start(self, params: Mapping[str, Any] | None = None, *, running: bool = True) -> None:
        """Creates the MLflow run, or goes on with the one this folder already has.

        Args:
            params: may be nested: `{"a": {"b": 1}}` is the param `a.b`. A param keeps the value it was first given.
            running: a run that had ended runs again; without it its status stays.
        """
        self._lock = lock(self._home)
        if not self._lock:
            raise TrainingError(f"another process is training into {self.folder}. Wait for it, or change a setting.")
        identity = identities.claim(self._home, self._wanted)
        self._spool = Spool(self._home)
        self._recall(identity)
        self._sender = Sender(self._spool, identity.uri, self._warn, self._interval, self._patience)
        self._put_new_params(flatten(params or {}))
        self.tag(self._wanted.tags)
        if self._resumed and running:
            self._spool.append({"kind": "status", "status": "RUNNING"})
        load_mlflow(identity.uri)
        self._sender.start()
        # A local store takes a moment, and the caller likes to print the run's address; a server may be away.
        self._sender.wait_for_first_contact(30.0 if database(identity.uri) else 3.0)
        if self._system_interval > 0:
            first = 1 + max(self._points.get("system/cpu_utilization_percentage", {-1}))
            self._sampler = Sampler(self.log, self.folder, self._system_interval, first)
            self._sampler.start()

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Metric points at `step`; a point (name, step) that this run already has is dropped (a resumed run
        replays)."""
        fresh: dict[str, float] = {}
        for name, value in values.items():
            name = metric_name(name)
            steps = self._points.setdefault(name, set())
            if step not in steps:
                steps.add(step)
                fresh[name] = float(value)
        if fresh:
            self._spool.append({"kind": "metrics", "step": int(step), "time": now(), "values": fresh})

    def tag(self, values: Mapping[str, str]) -> None:
        """Sets tags; a later value of a name replaces the earlier one. `mlflow.note.content` describes the run on its
        page."""
        wanted = {metric_name(name): str(value)[:MAX_TAG] for name, value in values.items()}
        if changed := {name: value for name, value in wanted.items() if self._tags.get(name) != value}:
            self._tags |= changed
            self._spool.append({"kind": "tags", "values": changed})

    def input(self, *, name: str, source: str, rows: int, digest: str, context: str, origin: str = "local") -> None:
        """A dataset as input of the run.

        Args:
            context: `train` or `evaluation`.
            origin: `hub`, `local` or another word.
            source: its Hub name or path. `digest` is cut to 36 characters, MLflow's limit.
        """
        kinds = {"hub": ("hugging_face", {"path": source}), "local": ("local", {"uri": source})}
        kind, described = kinds.get(origin, ("code", {"tags": {"mlflow.source.name": source, "plmc.origin": origin}}))
        event = {"kind": "input", "name": name, "digest": digest[:MAX_DIGEST], "context": context}
        if self._is_new(event["kind"], name, event["digest"], context):
            self._spool.append(event | {"origin": kind, "source": described, "rows": int(rows)})

    def artifact(self, path: Path, folder: str = "") -> None:
        """A file, or a folder with all it contains, into `folder` of the run's artifacts, as it is now.

        The same content under the same name is sent once.
        """
        path = Path(path)
        if not path.exists():
            self._warn(f"{path} does not exist and was not logged")
            return
        if path.is_dir():
            folder = f"{folder}/{path.name}" if folder else path.name
        digest = content_digest(path)
        if self._artifacts.get((folder, path.name)) == digest:
            return
        self._artifacts[folder, path.name] = digest
        staged = Path("artifacts") / digest[:16] / path.name
        target = self._home / staged
        if not target.exists():
            copy(path, target)
        event = {"kind": "artifact", "name": path.name, "digest": digest, "staged": str(staged)}
        self._spool.append(event | {"folder": folder})

    def model(
        self,
        path: Path,
        *,
        head: Head,
        example: str | Mapping[str, str],
        name: str = "model",
        max_length: int = 512,
        step: int = 0,
    ) -> None:
        """The Hugging Face model in `path` as an MLflow model of this run; see `build_model` for the arguments."""
        from plmc.track.model import build_model

        digest = content_digest(Path(path))
        if not self._is_new("model", name, digest):
            return
        staged = Path("models") / digest[:16]
        with replacing(self._home / staged) as draft:
            build_model(Path(path), draft, head=head, example=example, max_length=max_length)
        event = {"kind": "model", "name": name, "digest": digest, "staged": str(staged)}
        self._spool.append(event | {"model_type": head.kind, "step": int(step)})

    def finish(self, status: Status | None = "FINISHED") -> None:
        """Ends the run (with None its status stays): sends what waits, as long as the store takes it, and gives up
        after `patience` seconds if not."""
        if self._sender is None:
            return
        if self._sampler:
            self._sampler.stop()
        if status:
            self._spool.append({"kind": "status", "status": status, "time": now()})
        self._sender.finish()
        self._spool.close()
        self._lock.release()
        if self._spool.pending:
            count, trouble = self._spool.pending, self._sender.trouble or "it took too long"
            which = "1 event has" if count == 1 else f"{count} events have"
            self._warn(
                f"{which} not reached {self.uri} ({trouble}). Kept in {self._home}. To send what waits: plmc sync"
            )
        self._sender = None

    @property
    def uri(self) -> str:
        """Where the run is tracked."""
        return self._wanted.uri

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run; None until the store has been reached."""
        known = identities.read(self._home)
        return known.run_id if known else None

    @property
    def experiment_id(self) -> str | None:
        """MLflow's id of the experiment; None until the store has been reached."""
        known = identities.read(self._home)
        return known.experiment_id if known else None

    @property
    def pending(self) -> int:
        """Number of events that have not been sent."""
        return self._spool.pending if self._spool else 0

    def next_step(self, prefix: str = "") -> int:
        """One more than the last step of any metric of that prefix but the system's; 0 without one."""
        names = (name for name in self._points if name.startswith(prefix) and not name.startswith("system/"))
        return 1 + max((max(self._points[name]) for name in names), default=-1)

    def _recall(self, identity: Identity) -> None:
        self._points: dict[str, set[int]] = {}
        self._params: dict[str, str] = {}
        self._tags = dict(identity.tags)
        self._known: set[tuple[str, ...]] = set()
        self._artifacts: dict[tuple[str, str], str] = {}
        self._resumed = False
        for event, _ in self._spool.events():
            self._resumed = True
            kind = event["kind"]
            if kind == "metrics":
                for name in event["values"]:
                    self._points.setdefault(name, set()).add(event["step"])
            elif kind == "params":
                self._params.update(event["values"])
            elif kind == "tags":
                self._tags.update(event["values"])
            elif kind == "input":
                self._known.add((kind, event["name"], event["digest"], event["context"]))
            elif kind == "model":
                self._known.add((kind, event["name"], event["digest"]))
            elif kind == "artifact":
                # The last of its name counts, so that A, B, A ends with A.
                self._artifacts[event["folder"], event["name"]] = event["digest"]

    def _is_new(self, *key: str) -> bool:
        if key in self._known:
            return False
        self._known.add(key)
        return True

    def _put_new_params(self, params: Mapping[str, str]) -> None:
        for name in sorted(params.keys() & self._params.keys()):
            if params[name] != self._params[name]:
                self._warn(f"param {name} stays {self._params[name]}; MLflow keeps the first value, not {params[name]}")
        if new := {name: value for name, value in params.items() if name not in self._params}:
            self._spool.append({"kind": "params", "values": new})

    def _warn(self, text: str) -> None:
        if text not in self.warnings and len(self.warnings) < 50:
            self.warnings.append(text)


def of_run(folder: Path, **options: Any) -> Tracker | None:
    """The tracker that a run's folder had, not yet started and without samples of the machine; None for a run that was
    not tracked.

    Args:
        options: further ones of `Tracker`.
    """
    known = identities.read(Path(folder).resolve() / "tracking")
    if known is None:
        return None
    return Tracker(
        folder,
        uri=known.uri,
        experiment=known.experiment,
        run_name=known.name,
        parent=known.parent,
        tags=known.tags,
        system_interval=0,
        **options,
    )


@contextmanager
def reopened(folder: Path, warn: Callable[[str], None]) -> Iterator[Tracker | None]:
    """The tracker of a run that has ended, to add to it; its status and its end stay as they are.

    None for a run that was not tracked, and, with a word to `warn`, for one that is being trained at this moment.
    """
    tracker = of_run(folder, patience=5.0)
    try:
        if tracker:
            tracker.start(running=False)
    except TrainingError as error:
        warn(f"MLflow got no new figures: {error}")
        tracker = None
    try:
        yield tracker
    finally:
        if tracker:
            tracker.finish(None)
            for text in tracker.warnings:
                warn(text)
