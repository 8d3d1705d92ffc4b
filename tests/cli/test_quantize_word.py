"""`quantize=…` as a word of `plmc train`, and `plmc export` as a verb."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
from commands import SMALL, plmc

from plmc.config.compose import compose, plain
from plmc.config.resolve import resolve
from plmc.config.schemes import Plan
from plmc.errors import ConfigError
from plmc.teachers.runs import teacher_run


@pytest.fixture
def short(monkeypatch):
    from plmc.export import verify

    real = verify.latency
    monkeypatch.setattr(
        verify, "latency", lambda runtime, model, split: real(runtime, model, split, rows=2, budget=0.1)
    )


@pytest.fixture
def folder(zoo):
    return zoo["bert"]


def words(folder, *more):
    short = ("task=sst2", "latency_rows=0", "recipe=finetune", "student.layers=null")
    return (*SMALL, *short, f"teacher.name={folder}", f"student.name={folder}", *more)


def test_a_wrong_scheme_is_found_before_anything_starts(folder):
    with pytest.raises(ConfigError, match="quantize=int9.*Did you mean int8"):
        resolve(plain(compose(words(folder, "quantize=int9"))))


def test_packages_that_are_missing_are_named_before_training(folder, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    ended = plmc("train", *words(folder, "quantize=int8"))
    assert ended.code == 2 and "pip install 'plmc[export]'" in ended.message
    assert not list(tmp_path.glob("outputs/*/stages"))


def test_the_word_changes_neither_the_run_nor_its_teacher(folder):
    without, with_it = (resolve(plain(compose(words(folder, *more)))) for more in ((), ("quantize=[int8,bf16]",)))
    assert without.signature == with_it.signature
    assert teacher_run(with_it, with_it.task).config["quantize"] is None


def test_a_run_ends_with_its_exports_and_a_finished_one_gets_those_it_lacks(folder, short, tmp_path, monkeypatch):
    from plmc.export import recipe

    monkeypatch.setattr(recipe, "asked", lambda value: (Plan("torch", "bf16"),) if value else ())
    ended = plmc("train", *words(folder))
    assert ended.code == 0, ended.message
    result = next(tmp_path.glob("outputs/*/result.json"))
    run, first = result.parent, json.loads(result.read_text())
    assert not first.pop("exports") and not (run / "export").exists()
    ended = plmc("train", *words(folder, "quantize=bf16"))
    assert ended.code == 0, ended.message
    second = json.loads(result.read_text())
    made = second.pop("exports")
    assert second.pop("sha256") != first.pop("sha256")
    assert second == first and list(made) == ["torch-bf16"]
    assert (run / "export" / "torch-bf16" / "model.safetensors").is_file()
    assert made["torch-bf16"]["metrics"].keys() == first["metrics"].keys()


def test_a_refused_export_fails_the_command_and_keeps_the_run(folder, short, tmp_path, monkeypatch):
    from plmc.errors import ExportError
    from plmc.export import recipe

    def refuse(*args, **options):
        raise ExportError("too far")

    monkeypatch.setattr(recipe, "make", refuse)
    for _ in range(2):  # trained and refused, then finished and refused again
        ended = plmc("train", *words(folder, "quantize=bf16"))
        assert ended.code == ExportError.exit_code and "too far" in ended.message, ended.message
        result = json.loads(next(tmp_path.glob("outputs/*/result.json")).read_text())
        assert result["status"] == "finished" and result["exports"] == {"torch-bf16": {"refused": "too far"}}


@pytest.fixture
def classifier(zoo, tmp_path):
    """A tiny BERT with a head for two classes."""
    from transformers import AutoTokenizer, BertForSequenceClassification

    folder = tmp_path / "classifier"
    BertForSequenceClassification.from_pretrained(zoo["bert"]).save_pretrained(folder)
    AutoTokenizer.from_pretrained(zoo["bert"]).save_pretrained(folder)
    return folder


def test_the_verb_exports_a_model_folder_and_its_exit_code_says_how_it_went(classifier, short, tmp_path):
    data = ("task=sst2", "data=embedded", "data.validation_rows=16", "data.train_rows=16", "threads=1")
    out = tmp_path / "out"
    good = ("--to", "torch", "--quantize", "bf16", "--out", out, "--max-drop", "100", "--rows", "8")
    ended = plmc("export", classifier, *data, *good)
    assert ended.code == 0 and "accuracy" in ended.message and "speed-up" in ended.message, ended.message
    assert json.loads((out / "plmc_export.json").read_text())["verification"]["rows"] == 8
    for wrong, says in (
        (("--to", "onxx"), "Did you mean onnx"),
        (("--quantize", "int7"), "Did you mean int"),
        (("--rows", "0"), "1 or more"),
        (("--to", "torch", "--quantize", "int4"), "goes with --to onnx"),
        (("--out", tmp_path), "is no export of plmc"),
    ):
        ended = plmc("export", classifier, *data, *wrong)
        assert ended.code == 2 and says in ended.message, (wrong, ended.message)
    ended = plmc("export", classifier)
    assert ended.code == 2 and "task" in ended.message


@pytest.mark.slow
def test_killed_while_it_exports_the_same_command_ends_as_if_nothing_had_been(folder, short, tmp_path):
    pytest.importorskip("onnxruntime")
    from mlflow import MlflowClient

    command = ("train", *words(folder, "tracking=mlflow", "quantize=int8"))
    assert plmc(*command, "output_dir=whole").code == 0
    code = (
        "import os, signal, sys; from plmc.cli import app; from plmc.export import make\n"
        "make._sizes = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"sys.argv = {['plmc', *map(str, command)]!r}; app.main()"
    )
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    run = next(path for path in tmp_path.glob("outputs/finetune-sst2-*") if path.is_dir())
    assert not [path for path in run.glob("export/*") if not path.name.startswith(".")]
    ended = plmc(*command)
    assert ended.code == 0, ended.text
    made, whole = run / "export" / "onnx-int8", next(tmp_path.glob("whole/finetune-sst2-*/export/onnx-int8"))
    names = sorted(path.name for path in whole.iterdir())
    assert sorted(path.name for path in made.iterdir()) == names and "classify.py" in names
    for name in set(names) - {"plmc_export.json"}:  # it holds measured times
        assert (made / name).read_bytes() == (whole / name).read_bytes(), name
    assert not [path for path in (run / "export").iterdir() if path != made]
    result = json.loads((run / "result.json").read_text())
    client = MlflowClient(result["mlflow"]["tracking_uri"])
    logged = client.get_run(result["mlflow"]["run_id"])
    assert logged.info.status == "FINISHED"
    assert logged.data.metrics["export/onnx-int8/accuracy"] == result["exports"]["onnx-int8"]["metrics"]["accuracy"]
    assert logged.data.metrics["export/onnx-int8/size_bytes"] == (made / "model.onnx").stat().st_size
    files = client.list_artifacts(logged.info.run_id, "export/onnx-int8")
    assert [file.path for file in files] == ["export/onnx-int8/plmc_export.json"]
