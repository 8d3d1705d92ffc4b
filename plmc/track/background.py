"""The thread that empties the spool: every few seconds, with growing pauses while the store does not answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from plmc.track.send import Courier, Unreachable
from plmc.track.spool import Spool
from plmc.track.store import SENDER, is_reachable

_LONGEST_PAUSE = 60.0
LONGEST_UPLOAD = 600.0
"""Seconds that the end of a run waits for one event that is being sent without a failure, such as a large model."""


class Sender(threading.Thread):
    """Sends `spool` to `uri` every `interval` seconds; a daemon, so it never keeps a process alive.

    `trouble` is the last error, empty while all goes well.
    """

    def __init__(self, spool: Spool, uri: str, warn: Callable[[str], None], interval: float, patience: float):
        super().__init__(name=SENDER, daemon=True)
        self.trouble = ""
        self._spool, self._uri, self._interval, self._patience = spool, uri, interval, patience
        self._courier = Courier(spool, warn)
        self._state = threading.Condition()
        self._ending = self._abandoned = False
        self._failures = 0
        self._failed = False  # the last try
        self._least, self._moved = 0, time.monotonic()  # events that wait at the end, and when they last became fewer
        self._contact = threading.Event()

    def wait_for_first_contact(self, seconds: float) -> None:
        """Returns when the run is known to the store, the first try has failed, or after `seconds`."""
        self._contact.wait(seconds)

    def run(self) -> None:
        while not self._abandoned:
            if self._spool.pending or not self._contact.is_set():
                self._try_once()
            with self._state:
                if self._ending and self._spool.pending == 0:
                    return
                self._state.wait_for(lambda: self._ending or self._abandoned, self._pause())
            if self._ending and self._failures:
                time.sleep(min(1.0, self._patience / 4))

    def finish(self) -> None:
        """Sends the rest. Returns when all is sent or nothing has got through for `patience` seconds.

        Only events that wait no more count as progress: a store may answer, take some events again and again, and
        refuse the next one for ever.
        """
        with self._state:
            self._least, self._moved = self._spool.pending, time.monotonic()
            self._ending = True
            self._state.notify_all()
        while self.is_alive():
            self.join(0.05)
            still = time.monotonic() - self._moved
            if still < self._patience:
                continue
            # A long upload makes no progress that shows here; while the server answers, it may take its time.
            if not self._failed and still < LONGEST_UPLOAD and is_reachable(self._uri):
                continue
            self._abandoned = True
            return

    def _pause(self) -> float:
        return min(self._interval * 2**self._failures, max(self._interval, _LONGEST_PAUSE))

    def _try_once(self) -> None:
        self._failed = False
        try:
            self._courier.send(self._uri, self._advance)
        # If tracking fails, training goes on: the events stay in the spool.
        except Exception as error:
            self._failures, self._failed = self._failures + 1, True
            self.trouble = (str(error) or type(error).__name__).splitlines()[0][:300]
        else:
            self._failures, self.trouble = 0, ""
        self._contact.set()

    def _advance(self, delivered: int) -> None:
        if self._abandoned:
            raise Unreachable("given up")
        self._contact.set()
        if delivered:
            self._failures = 0
        if self._ending and self._spool.pending < self._least:
            self._least, self._moved = self._spool.pending, time.monotonic()
