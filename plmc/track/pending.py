"""Sends what earlier runs could not."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from plmc.track import identity as identities
from plmc.track.background import Sender
from plmc.track.spool import Spool, all_sent, lock
from plmc.track.store import is_reachable, load_mlflow


def waiting(outputs: Path) -> Iterator[Path]:
    """Tracking folders of runs, one or two levels below `outputs`, with unsent events."""
    for pattern in ("*/tracking/run.json", "*/*/tracking/run.json"):
        for file in sorted(Path(outputs).glob(pattern)):
            if not all_sent(file.parent):
                yield file.parent


def send_pending(outputs: Path, *, patience: float = 3.0) -> int:
    """Sends the unsent events of all runs in `outputs` that no process is writing; returns how many still wait.

    Costs a few file look-ups when nothing waits. A store that does not answer is asked once.
    """
    left = 0
    answers: dict[str, bool] = {}
    for home in waiting(outputs):
        held = lock(home)
        if held is None:
            # That run is alive and sends for itself.
            continue
        try:
            uri = identities.read(home).uri
            spool = Spool(home)
            if uri not in answers:
                answers[uri] = is_reachable(uri)
            if spool.pending and answers[uri]:
                load_mlflow(uri)
                sender = Sender(spool, uri, logging.getLogger(__name__).warning, interval=patience, patience=patience)
                sender.start()
                sender.finish()
            left += spool.pending
            spool.close()
        finally:
            held.release()
    return left
