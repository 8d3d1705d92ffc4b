"""The run above the runs of a sweep."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from plmc.track import identity as identities
from plmc.track.identity import Identity
from plmc.track.spool import lock, write_json
from plmc.track.store import connect, is_reachable, resolve_uri
from plmc.track.tracker import Status, of_run
from plmc.track.values import metric_name


def parent_run(
    folder: Path, *, uri: str, experiment: str, name: str, tags: Mapping[str, str] | None = None
) -> str | None:
    """Creates the parent run of a sweep, or finds the one that `folder` already has; returns its MLflow id.

    None if the store does not answer or refuses: the first child that reaches it makes the parent. Children name it by
    `Tracker(…, parent=folder)`.
    """
    uri = resolve_uri(uri)
    home = Path(folder).resolve() / "tracking"
    cleaned = {metric_name(key): str(value) for key, value in (tags or {}).items()}
    identities.claim(home, Identity(uri, experiment, name, tags=cleaned))
    if not is_reachable(uri):
        return None
    try:
        return identities.ensure_run(connect(uri), home)[0].run_id
    except (
        Exception
    ) as error:  # a store that refuses is no reason not to train; each child says what is wrong at its end
        logging.getLogger(__name__).info("no parent run yet: %s", error)
        return None


def close_parent(
    folder: Path, summary: Mapping[str, float], status: Status = "FINISHED", *, table: Path | None = None
) -> list[str]:
    """Ends the parent run with `summary` as metrics and `table` as artifact; returns warnings.

    A sweep that is run again adds a further point to each metric.
    """
    tracker = of_run(folder)
    tracker.start()
    tracker.log(summary, tracker.next_step())
    if table is not None:
        tracker.artifact(table)
    tracker.finish(status)
    return tracker.warnings


def adopt(folder: Path, parent: Path) -> bool:
    """Puts a run that was tracked before, outside any sweep, under the parent run of `parent`; returns whether it did.

    A run keeps the parent it has, and one in another store or experiment stays alone. A store that does not answer
    or refuses changes nothing.
    """
    home, above = (Path(path).resolve() / "tracking" for path in (folder, parent))
    known, wanted = identities.read(home), identities.read(above)
    if known is None or known.parent or wanted is None:
        return False
    if (known.uri, known.experiment) != (wanted.uri, wanted.experiment) or not is_reachable(known.uri):
        return False
    held = lock(home)
    if held is None:
        return False
    try:
        if known.run_id and not _moved(known, above):
            return False
        # In case the run must be made again.
        write_json(home / "run.json", asdict(replace(known, parent=str(above))))
    finally:
        held.release()
    return True


def _moved(child: Identity, above: Path) -> bool:
    """Sets the parent of a run in the store; whether the store took it."""
    try:
        client = connect(child.uri)
        client.set_tag(child.run_id, "mlflow.parentRunId", identities.ensure_run(client, above)[0].run_id)
    except Exception as error:
        logging.getLogger(__name__).info("run %s keeps its place: %s", child.run_id, error)
        return False
    return True
