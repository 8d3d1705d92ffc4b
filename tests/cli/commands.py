"""One `plmc` command in this process, and words that keep it short."""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
# Seconds on one core; teachers are shared by all runs of a folder.
SMALL = (
    "preset=smoke",
    "data=embedded",
    "tracking=off",
    "threads=1",
    "budget.steps=4",
    "data.train_rows=64",
    "data.validation_rows=24",
    "data.test_rows=8",
)


@dataclass(frozen=True)
class Ended:
    """How a command ended. `text` is everything it printed."""

    code: int
    text: str

    @property
    def message(self) -> str:
        """The text on one line."""
        return " ".join(self.text.split())


def plmc(*words: object) -> Ended:
    """One `plmc` command in this process, from the words to the exit code."""
    import plmc.cli.app

    code, before, text = 0, sys.argv, io.StringIO()
    sys.argv = ["plmc", *map(str, words)]
    try:
        with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
            plmc.cli.app.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.argv = before
    return Ended(code, text.getvalue())
