"""The examples in the repository run as they stand."""

import importlib.util
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "examples"


def test_the_methods_work_without_hydra():
    spec = importlib.util.spec_from_file_location("without_hydra", FOLDER / "without_hydra.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    assert example.main(updates=20) == pytest.approx(0.5, abs=1e-3)
