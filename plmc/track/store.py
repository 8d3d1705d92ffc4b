"""Where MLflow data lives: a SQLite file of our own, or a server; how to reach it without noise and without waiting."""

from __future__ import annotations

import logging
import os
import ssl
import threading
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from plmc.errors import ConfigError

if TYPE_CHECKING:
    from mlflow import MlflowClient

SENDER = "plmc-tracking"
"""Beginning of the names of the threads that talk to MLflow; what its libraries grumble there is not shown."""

_SETTINGS = {
    # Retrying is our own business: the spool keeps what could not be sent.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
# Has MLflow's pages show curves and tables of training runs, not chats.
_KIND = {"mlflow.experimentKind": "custom_model_development"}


def default_uri(outputs: Path) -> str:
    """The store that needs no server: `mlflow.db` in the folder of all runs."""
    return f"sqlite:///{Path(outputs).resolve() / 'mlflow.db'}"


def resolve_uri(uri: str) -> str:
    """`uri` with an absolute path. Raises ConfigError unless it is `sqlite:///…`, `http://…` or `https://…`."""
    if uri.startswith("sqlite:///") and len(uri) > len("sqlite:///"):
        return f"sqlite:///{Path(uri.removeprefix('sqlite:///')).expanduser().resolve()}"
    if uri.startswith(("http://", "https://")):
        parts = urlsplit(uri)
        if "@" in parts.netloc:
            raise ConfigError(
                "tracking.uri holds a password, which would be stored with every run. Leave it out and set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment."
            )
        if parts.query or parts.fragment:
            raise ConfigError(
                "tracking.uri holds a query, which MLflow does not read and which would be stored with every run. "
                "Leave out what follows the ? or #; a token goes into the environment: MLFLOW_TRACKING_TOKEN."
            )
        if not parts.hostname:
            raise ConfigError(f"tracking.uri={uri} names no host. Write http://host:5000.")
        return uri.rstrip("/")
    # Addresses of other databases hold passwords, too.
    kind = f"{uri.partition('://')[0]}://…" if "://" in uri else uri
    raise ConfigError(
        f"tracking.uri={kind} is neither a SQLite file nor a server. Write sqlite:////path/mlflow.db, "
        f"http://host:5000, or leave it out to track into the outputs folder."
    )


def without_secrets(uri: str) -> str:
    """`uri` as it may be shown: user, password, query and fragment left out."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https"):
        return uri
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def database(uri: str) -> Path | None:
    """The SQLite file of a resolved `uri`, None for a server."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def is_reachable(uri: str, timeout: float = 3.0) -> bool:
    """Whether the server answers at all within `timeout` seconds; a SQLite file always does."""
    if database(uri):
        return True
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=timeout):
            return True
    except urllib.error.HTTPError:
        # An answer, if not a kind one: some proxies hide /health.
        return True
    except urllib.error.URLError as error:
        # Whether to trust its certificate is for MLflow to decide (MLFLOW_TRACKING_SERVER_CERT_PATH and others).
        return isinstance(error.reason, ssl.SSLError)
    except (OSError, HTTPException):
        return False


def load_mlflow(uri: str) -> None:
    """Imports what `uri` needs of MLflow, in the calling thread, with telemetry off and short waits.

    To be called in the main thread before another one sends: two threads that import the same libraries from different
    ends can meet half-made modules.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow.store.db.utils", "alembic.runtime.migration"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").addFilter(_not_from_sender)

    import mlflow.entities
    import mlflow.models  # noqa: F401

    if database(uri):
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401


def connect(uri: str) -> MlflowClient:
    """A separate MLflow client, apart from MLflow's fluent global run. Creates the SQLite store on first use.

    Processes that meet on a fresh SQLite store queue up at a lock file: the migrations that build it bear only one.
    """
    load_mlflow(uri)
    from filelock import FileLock
    from mlflow import MlflowClient

    file = database(uri)
    if file is None:
        return MlflowClient(tracking_uri=uri, registry_uri=uri)
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock"):
        if not file.exists():
            _make(file)
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.search_experiments(max_results=1)
    return client


def _make(file: Path) -> None:
    """An empty store under a draft name, then renamed: migrations cut off half-way can never be taken up again."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    draft = file.with_name(f".{file.name}.new")
    for stale in (draft, draft.with_name(f"{draft.name}-journal")):
        stale.unlink(missing_ok=True)
    SqlAlchemyStore(f"sqlite:///{draft}", (file.parent / "mlartifacts").as_uri()).engine.dispose()
    os.replace(draft, file)


def experiment_id(client: MlflowClient, uri: str, name: str) -> str:
    """Id of the experiment `name`, made (or undeleted) if need be; with a SQLite file artifacts go to
    `mlartifacts`."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        file = database(uri)
        artifacts = (file.parent / "mlartifacts").as_uri() if file else None
        try:
            return client.create_experiment(name, artifact_location=artifacts, tags=_KIND)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return found.experiment_id


def _not_from_sender(record: logging.LogRecord) -> bool:
    return not threading.current_thread().name.startswith(SENDER)
