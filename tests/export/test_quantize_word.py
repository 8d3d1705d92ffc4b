"""`quantize=…` as a word of `plmc train`, and `plmc export` as a verb."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys

import pytest
from deployed import save

from plmc.compose import compose, plain
from plmc.config import resolve
from plmc.errors import ConfigError
from plmc.export.schemes import Plan
from plmc.teacher_config import teacher_run

SMALL = (
    "preset=smoke", "task=sst2", "data=embedded", "tracking=off", "threads=1", "budget.steps=2", "data.train_rows=32",
    "data.validation_rows=16", "data.test_rows=4", "latency_rows=0", "recipe=finetune", "student.layers=null",
)


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    import plmc.run.hand_over

    kept = dict(os.environ)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("plot_training", "plot_predictions"):
        monkeypatch.setattr(plmc.run.hand_over, name, lambda data, path, labels=(): path.parent.mkdir(exist_ok=True))
    yield
    for name in set(os.environ) - set(kept):
        del os.environ[name]


@pytest.fixture
def short(monkeypatch):
    from plmc.export import verify

    real = verify.latency
    monkeypatch.setattr(verify, "latency", lambda runtime, model, split: real(runtime, model, split, rows=2, budget=0.1))


def plmc(*words):
    """Exit code and text of a command in this process."""
    import plmc.cli

    code, before, text = 0, sys.argv, io.StringIO()
    sys.argv = ["plmc", *map(str, words)]
    try:
        with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
            plmc.cli.main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.argv = before
    return code, " ".join(text.getvalue().split())


def words(folder, *more):
    return (*SMALL, f"teacher.name={folder}", f"student.name={folder}", *more)


@pytest.fixture
def folder(tokenizers, tmp_path):
    return save(tmp_path / "model", "bert", "classification", tokenizers["bert"])


def test_a_wrong_scheme_is_found_before_anything_starts(folder):
    with pytest.raises(ConfigError, match="quantize=int9.*Did you mean int8"):
        resolve(plain(compose(words(folder, "quantize=int9"))))


def test_packages_that_are_missing_are_named_before_training(folder, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    code, text = plmc("train", *words(folder, "quantize=int8"))
    assert code == 2 and "pip install 'plmc[export]'" in text
    assert not list(tmp_path.glob("outputs/*/stages"))


def test_the_word_changes_neither_the_run_nor_its_teacher(folder):
    without, with_it = (resolve(plain(compose(words(folder, *more)))) for more in ((), ("quantize=[int8,bf16]",)))
    assert without.signature == with_it.signature
    assert teacher_run(with_it).config["quantize"] is None


def test_a_run_ends_with_its_exports_and_a_finished_one_gets_those_it_lacks(folder, short, tmp_path, monkeypatch):
    from plmc.export import recipe

    monkeypatch.setattr(recipe, "asked", lambda value: (Plan("torch", "bf16"),) if value else ())
    code, text = plmc("train", *words(folder))
    assert code == 0, text
    result = next(tmp_path.glob("outputs/*/result.json"))
    run, first = result.parent, json.loads(result.read_text())
    assert "exports" not in first and not (run / "export").exists()
    code, text = plmc("train", *words(folder, "quantize=bf16"))
    assert code == 0, text
    second = json.loads(result.read_text())
    made = second.pop("exports")
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
        code, text = plmc("train", *words(folder, "quantize=bf16"))
        assert code == ExportError.exit_code and "too far" in text, text
        result = json.loads(next(tmp_path.glob("outputs/*/result.json")).read_text())
        assert result["status"] == "finished" and result["exports"] == {"torch-bf16": {"refused": "too far"}}


def test_the_verb_exports_a_model_folder_and_its_exit_code_says_how_it_went(folder, short, tmp_path):
    data = ("task=sst2", "data=embedded", "data.validation_rows=16", "data.train_rows=16", "threads=1")
    out = tmp_path / "out"
    good = ("--to", "torch", "--quantize", "bf16", "--out", out, "--max-drop", "100", "--rows", "8")
    code, text = plmc("export", folder, *data, *good)
    assert code == 0 and "accuracy" in text and "speed-up" in text, text
    assert json.loads((out / "plmc_export.json").read_text())["verification"]["rows"] == 8
    for wrong, says in (
        (("--to", "onxx"), "Did you mean onnx"), (("--quantize", "int7"), "Did you mean int"), (("--rows", "0"), "1 or more"),
        (("--to", "torch", "--quantize", "int8"), "goes with --to onnx"), (("--out", tmp_path), "is no export of plmc"),
    ):
        code, text = plmc("export", folder, *data, *wrong)
        assert code == 2 and says in text, (wrong, text)
    code, text = plmc("export", folder)
    assert code == 2 and "task" in text
