"""Sends what earlier runs could not."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Delivery:
    """What became of one run's events: `sent`, still waiting (`left`), and the `trouble` that keeps them."""

    folder: Path
    uri: str
    sent: int
    left: int
    trouble: str = ""


def send_pending(outputs: Path, *, patience: float = 3.0) -> int:
    """Sends the unsent events of all runs in `outputs` that no process is writing; returns how many still wait.

    Costs a few file look-ups when nothing waits. A store that does not answer is asked once.
    """
    return sum(delivery.left for delivery in deliver(waiting(outputs), patience=patience))


def deliver(homes: Iterable[Path], *, patience: float = 3.0) -> Iterator[Delivery]:
    """Sends what waits in each of the tracking folders `homes`; a run that is being trained sends for itself."""
    answers: dict[str, bool] = {}
    for home in homes:
        held = lock(home)
        if held is None:
            continue
        try:
            uri = identities.read(home).uri
            spool = Spool(home)
            before, trouble = spool.pending, ""
            if uri not in answers:
                answers[uri] = is_reachable(uri)
            if not answers[uri]:
                trouble = "it does not answer"
            elif before:
                load_mlflow(uri)
                sender = Sender(spool, uri, logging.getLogger(__name__).warning, interval=patience, patience=patience)
                sender.start()
                sender.finish()
                trouble = sender.trouble or "it took too long"
            yield Delivery(home.parent, uri, before - spool.pending, spool.pending, trouble if spool.pending else "")
            spool.close()
        finally:
            held.release()
