"""Which MLflow run a folder belongs to; made on first contact, found again ever after."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from plmc.track.spool import write_json
from plmc.track.store import experiment_id
from plmc.track.values import MAX_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEY_TAG = "plmc.key"


@dataclass(frozen=True)
class Identity:
    """Content of `<folder>/run.json`.

    Attributes:
        parent: the tracking folder of the parent run, or its MLflow id. `run_id` is None until the store has been
            reached.
        attempted: the run may exist although `run_id` is unknown (a crash while it was being made).
    """

    uri: str
    experiment: str
    name: str
    parent: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    start_time: int = field(default_factory=lambda: int(time.time() * 1000))
    attempted: bool = False
    experiment_id: str | None = None
    run_id: str | None = None


def read(folder: Path) -> Identity | None:
    """The identity stored in a tracking folder; None before the first start."""
    file = folder / "run.json"
    return Identity(**json.loads(file.read_text())) if file.exists() else None


def claim(folder: Path, wanted: Identity) -> Identity:
    """The stored identity, or `wanted` where there is none.

    A run that is to be tracked somewhere else than before gets a new identity: the whole spool goes there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = read(folder)
    if known and (known.uri, known.experiment) == (wanted.uri, wanted.experiment):
        return known
    write_json(folder / "run.json", asdict(wanted))
    return wanted


def ensure_run(client: MlflowClient, folder: Path) -> tuple[Identity, bool]:
    """The identity with a `run_id` that exists in the store, and whether the run had to be made.

    Parents come first. A run that was deleted is restored; one that is gone with its store is made again.
    """
    from filelock import FileLock

    # Many children may want the same parent at once.
    with FileLock(folder / "run.lock"):
        identity = read(folder)
        if identity.run_id and _exists(client, identity.run_id):
            return identity, False
        experiment = experiment_id(client, identity.uri, identity.experiment)
        run_id = _find(client, experiment, identity.key) if identity.attempted and not identity.run_id else None
        if run_id is None:
            write_json(folder / "run.json", asdict(replace(identity, attempted=True, run_id=None)))
            run_id = _create(client, experiment, identity)
        if not run_id:
            raise ConnectionError(f"{identity.uri} answers, but not as an MLflow server does: a new run has no id")
        identity = replace(identity, attempted=True, experiment_id=experiment, run_id=run_id)
        # What was sent went to another run.
        (folder / "sent.json").unlink(missing_ok=True)
        write_json(folder / "run.json", asdict(identity))
        return identity, True


def _create(client: MlflowClient, experiment: str, identity: Identity) -> str:
    tags = {name: value[:MAX_TAG] for name, value in identity.tags.items()} | {KEY_TAG: identity.key}
    if identity.parent:
        folder = Path(identity.parent)
        tags["mlflow.parentRunId"] = (
            ensure_run(client, folder)[0].run_id if (folder / "run.json").exists() else identity.parent
        )
    run = client.create_run(experiment, start_time=identity.start_time, tags=tags, run_name=identity.name)
    return run.info.run_id


def _find(client: MlflowClient, experiment: str, key: str) -> str | None:
    found = client.search_runs([experiment], filter_string=f"tags.`{KEY_TAG}` = '{key}'", max_results=1)
    return found[0].info.run_id if found else None


def _exists(client: MlflowClient, run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    if run.info.lifecycle_stage == "deleted":
        client.restore_run(run_id)
    return True
