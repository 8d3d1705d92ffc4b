"""The command line as a stranger uses it: in a folder of its own, without network, on tiny models."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

CHECKOUT = Path(__file__).resolve().parents[2]
# Seconds on one core; teachers are shared by all runs of a folder.
SMALL = (
    "preset=smoke", "data=embedded", "tracking=off", "threads=1", "budget.steps=4", "data.train_rows=64",
    "data.validation_rows=24", "data.test_rows=8",
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
    import plmc.cli

    code, before, text = 0, sys.argv, io.StringIO()
    sys.argv = ["plmc", *map(str, words)]
    try:
        with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
            plmc.cli.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.argv = before
    return Ended(code, text.getvalue())


@pytest.fixture(scope="session")
def zoo(tmp_path_factory) -> dict[str, Path]:
    """Folders of tiny random models, by family."""
    from zoo import FAMILIES, save

    root = tmp_path_factory.mktemp("zoo")
    return {family: save(root / family, family) for family in FAMILIES}


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """A folder of its own, a wide terminal, no network, no environment that a command left behind."""
    kept = dict(os.environ)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "220")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("PLMC_DEBUG", raising=False)
    yield
    for name in set(os.environ) - set(kept):
        del os.environ[name]


@pytest.fixture
def pictures():
    """Asked for by tests whose runs are to draw their plots."""


def _blank(data, path, labels=()) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.fixture(autouse=True)
def no_pictures(request, monkeypatch):
    """Drawing takes a third of a tiny run."""
    if "pictures" not in request.fixturenames:
        import plmc.run.hand_over

        for name in ("plot_training", "plot_predictions"):
            monkeypatch.setattr(plmc.run.hand_over, name, _blank)


@pytest.fixture
def small(zoo) -> tuple[str, ...]:
    """Words that make any training a matter of seconds, on the tiny BERT."""
    return (*SMALL, f"teacher.name={zoo['bert']}")
