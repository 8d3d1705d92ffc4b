"""A Hub with a tiny model and a few rows of RTE, and caches that are empty."""

import os
import shutil
import sys
from pathlib import Path

import datasets
import pytest
from huggingface_hub import constants

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "cli")]

from server import LocalHub, forget  # noqa: E402
from zoo import save  # noqa: E402

from plmc.data import reach  # noqa: E402


@pytest.fixture(scope="session")
def content(tmp_path_factory):
    """`models/tiny/bert`, `datasets/nyu-mll/glue` with RTE, `datasets/tiny/text`."""
    root = tmp_path_factory.mktemp("content")
    save(root / "models/tiny/bert/main", "bert")
    rows = {
        "sentence1": [f"a tree is near the house {i}" for i in range(32)],
        "sentence2": ["a tree is there"] * 32,
        "label": [i % 2 for i in range(32)],
        "idx": list(range(32)),
    }
    label = datasets.ClassLabel(names=["entailment", "not_entailment"])
    text = datasets.Value("string")
    features = datasets.Features(sentence1=text, sentence2=text, label=label, idx=datasets.Value("int32"))
    folder = root / "datasets/nyu-mll/glue/main"
    for split in ("train", "validation"):
        path = folder / "rte" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_dict(rows, features).to_parquet(path)
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: rte\n  data_files:\n  - split: train\n    path: rte/train-*\n"
        "  - split: validation\n    path: rte/validation-*\n---\n"
    )
    lines = root / "datasets/tiny/text/main"
    lines.mkdir(parents=True)
    (lines / "train.txt").write_text("\n".join(f"the boat {i} lies in the harbour" for i in range(64)))
    return root


@pytest.fixture
def hub(content, tmp_path, monkeypatch):
    """A running Hub that this process asks, with caches of its own; nothing known of it yet."""
    shutil.copytree(content, tmp_path / "hub")
    server = LocalHub(tmp_path / "hub")
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache/hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", server.address)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache/datasets")
    monkeypatch.setattr(datasets.config, "HF_MODULES_CACHE", str(tmp_path / "cache/modules"))
    monkeypatch.setattr(reach, "_known", {})
    monkeypatch.chdir(tmp_path)
    forget()
    yield server
    server.shutdown()
    server.server_close()
    forget()


@pytest.fixture
def silence(monkeypatch):
    """A function after which the Hub is a port that nobody listens on."""

    def fall_silent():
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        forget()

    return fall_silent


os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
