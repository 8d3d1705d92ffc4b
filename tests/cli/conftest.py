"""The command line as a stranger uses it: in a folder of its own, without network, on tiny models."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from commands import SMALL  # noqa: E402


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
