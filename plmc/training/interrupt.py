"""Ctrl-C and SIGTERM that wait for the end of an update, where a checkpoint is whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

WHO = {signal.SIGINT: "interrupted", signal.SIGTERM: "stopped by SIGTERM"}


class Terminated(KeyboardInterrupt):
    """SIGTERM, as schedulers send it some seconds before SIGKILL; it ends a command as Ctrl-C does."""


def exit_code(stop: KeyboardInterrupt) -> int:
    """What a shell expects of a process that a signal ended."""
    return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)


def what_stopped(stop: KeyboardInterrupt) -> str:
    """In words."""
    return WHO[signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT]


def hear_sigterm() -> None:
    """From now on SIGTERM raises Terminated, unless somebody handles it already."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)


def _terminate(number: int, frame: Any) -> None:
    raise Terminated


@contextmanager
def deferred() -> Iterator[Callable[[], KeyboardInterrupt | None]]:
    """Yields a function that returns what to raise once Ctrl-C or SIGTERM came, else None; a second one raises at once.

    Outside the main thread, where Python delivers no signals, and for signals that are not ours to handle, nothing
    changes.
    """
    asked: KeyboardInterrupt | None = None
    ours = {signal.SIGINT: (signal.default_int_handler, KeyboardInterrupt), signal.SIGTERM: (_terminate, Terminated)}
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return

    def note(number: int, frame: Any) -> None:
        nonlocal asked
        if asked is not None:
            raise asked
        asked = ours[signal.Signals(number)][1]()

    held = [number for number, (handler, _) in ours.items() if signal.getsignal(number) is handler]
    for number in held:
        signal.signal(number, note)
    try:
        yield lambda: asked
    finally:
        for number in held:
            signal.signal(number, ours[number][0])
