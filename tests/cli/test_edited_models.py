"""Models with adapters and prefixes, and the trained parts of models, in every verb."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import SMALL, plmc
from safetensors.torch import load_file, save_file

import plmc as face
from plmc.models import load, part

RECIPES = {
    "adapter": ("recipe=adapter", "methods.adapter.size=4", "methods.adapter.std=0.3"),
    "prefix": ("recipe=prefix", "methods.prefix.length=3"),
    "bitfit": ("recipe=bitfit",),
}
TEXTS = ["a moving film", "dull and far too long"]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A run of each recipe on a tiny BERT, and a cache of their own."""
    from zoo import save

    folder = tmp_path_factory.mktemp("edited")
    bert = save(folder / "bert", "bert")
    patch = pytest.MonkeyPatch()
    patch.setattr("huggingface_hub.constants.HF_HOME", str(folder / "cache"))
    for name, words in RECIPES.items():
        given = (*SMALL, *words, f"teacher.name={bert}", "teacher=base", "student=same", "task=sst2", "train.lr=1e-2")
        ended = plmc("train", *given, f"output_dir={folder / 'outputs'}")
        assert ended.code == 0 and "trains " in ended.text, (name, ended.text)
    yield folder
    patch.undo()


def run_of(home: Path, name: str) -> Path:
    return next(path.parent for path in (home / "outputs").glob(f"{name}-*/result.json"))


@pytest.mark.parametrize("name", RECIPES)
def test_the_trained_part_is_the_whole_model_with_its_base(home, name):
    run = run_of(home, name)
    own, whole = load_file(run / "adapter" / part.WEIGHTS), load_file(run / "model" / "model.safetensors")
    base = load_file(home / "bert" / "model.safetensors")
    assert all(torch.equal(value, whole[key]) for key, value in own.items())
    # What is not in it is in the base.
    assert all(torch.equal(base[key], value) for key, value in whole.items() if key not in own)
    assert sum(value.nbytes for value in own.values()) < 0.5 * sum(value.nbytes for value in whole.values())
    answers = [face.predict(folder, TEXTS) for folder in (run, run / "adapter")]
    assert answers[0] == answers[1]
    scores = [plmc("evaluate", folder).text.split("accuracy")[1].split()[0] for folder in (run, run / "adapter")]
    assert scores[0] == scores[1]
    facts = json.loads((run / "adapter" / part.FACTS).read_text())
    assert (
        facts["base"] == str(home / "bert")
        and "adapter/part.safetensors" in json.loads((run / "result.json").read_text())["files"]
    )


def test_a_part_taken_elsewhere_needs_its_base_as_it_was(home, tmp_path):
    run = run_of(home, "bitfit")
    moved = shutil.copytree(run / "adapter", tmp_path / "moved")
    assert face.predict(moved, TEXTS) == face.predict(run, TEXTS)
    ended = plmc("evaluate", moved)
    assert ended.code == 2 and "the task must be named" in ended.message
    whole = plmc("convert", moved, tmp_path / "whole")
    assert whole.code == 0 and face.predict(tmp_path / "whole", TEXTS) == face.predict(run, TEXTS)
    # The base is another model now.
    weights = home / "bert" / "model.safetensors"
    kept = weights.read_bytes()
    tensors = load_file(weights)
    try:
        save_file({key: value + 1 for key, value in tensors.items()}, weights, {"format": "pt"})
        ended = plmc("predict", moved, "a text")
        assert ended.code == 2 and "its weights are others now" in ended.message, ended.text
    finally:
        weights.write_bytes(kept)
    data = bytearray((moved / part.WEIGHTS).read_bytes())
    data[-1] ^= 1
    (moved / part.WEIGHTS).write_bytes(data)
    ended = plmc("predict", moved, "a text")
    assert ended.code != 0 and "part.safetensors is damaged" in ended.message, ended.text
    facts = json.loads((moved / part.FACTS).read_text())
    (moved / part.FACTS).write_text(json.dumps(facts | {"base": "elsewhere"}))
    assert "part.json is damaged" in plmc("predict", moved, "a text").message


@pytest.mark.parametrize("name", ["adapter", "prefix"])
def test_a_program_without_plmc_is_refused_and_onnx_answers_the_same(home, name, tmp_path):
    pytest.importorskip("onnxruntime")
    run = run_of(home, name)
    refused = plmc("export", run, "--to", "torch")
    assert refused.code == 2 and "transformers alone cannot build" in refused.message, refused.text
    made = plmc("export", run, "--rows", "20", "--out", tmp_path / "onnx")
    assert made.code == 0, made.text
    from plmc.export.runtime import open_model

    runtime = open_model(tmp_path / "onnx", threads=1)
    tokenizer = load.load_tokenizer(str(run))
    model = face.load(run)[0]
    inputs = dict(tokenizer(TEXTS, padding=True, return_tensors="pt"))
    with torch.inference_mode():
        wanted = model(**inputs).logits.numpy()
    found = runtime.run({key: value.numpy() for key, value in inputs.items()})[0]
    assert np.abs(found - wanted).max() < 1e-4


@pytest.mark.parametrize("name", ["adapter", "prefix"])
def test_the_card_and_mlflow_name_plmc_and_answer_with_the_edits(home, name, tmp_path):
    run = run_of(home, name)
    card = (run / "README.md").read_text()
    assert "import plmc" in card and "from transformers import pipeline" not in card
    pandas, mlflow = pytest.importorskip("pandas"), pytest.importorskip("mlflow")
    from plmc.heads.classification import ClassificationHead
    from plmc.track.model import build_model

    build_model(run / "model", tmp_path / "logged", head=ClassificationHead(), example="a text")
    served = mlflow.pyfunc.load_model(str(tmp_path / "logged"))
    said = served.predict(pandas.DataFrame({"text": TEXTS}))
    wanted = face.predict(run, TEXTS)
    assert said["label"].tolist() == [row["label"] for row in wanted]
    assert np.allclose(said["score"], [row["score"] for row in wanted])
    with pytest.raises(Exception, match="flavor"):
        mlflow.transformers.load_model(str(tmp_path / "logged"))


def test_a_record_of_a_part_that_is_not_known_is_refused(home, tmp_path):
    folder = shutil.copytree(run_of(home, "prefix") / "model", tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["plmc"]["edits"][0]["name"] = "branches"
    (folder / "config.json").write_text(json.dumps(config))
    ended = plmc("predict", folder, "a text")
    assert ended.code == 2 and "has branches, which this version of plmc does not know" in ended.message, ended.text
    config.pop("plmc")
    (folder / "config.json").write_text(json.dumps(config))
    ended = plmc("predict", folder, "a text")
    assert ended.code == 2 and "no place for" in ended.message, ended.text


def test_an_edited_model_is_a_student_of_later_runs(home, tmp_path):
    run = run_of(home, "adapter")
    words = (*SMALL, "teacher=none", "student=base", f"student.name={run}", "task=rte", "recipe=finetune")
    ended = plmc("train", *words, "method=[gmp]", "methods.gmp.final=0.5", f"output_dir={tmp_path}")
    assert ended.code == 0, ended.text
    (result,) = tmp_path.glob("finetune-*/result.json")
    record = json.loads(result.read_text())
    assert record["student"]["edits"] == ["adapters"] and record["student"]["sparsity"] == pytest.approx(0.5, abs=0.01)
    pruned = plmc("train", *words, "method=[head_prune]", f"output_dir={tmp_path}")
    assert pruned.code == 0, pruned.text


def test_heads_that_own_a_part_of_a_prefix_are_not_removed(home, tmp_path):
    run = run_of(home, "prefix")
    words = (*SMALL, "teacher=none", "student=base", f"student.name={run}", "task=rte", "recipe=finetune")
    ended = plmc("train", *words, "method=[head_prune]", f"output_dir={tmp_path}")
    assert ended.code == 2 and "every head owns a part of the prefix" in ended.message, ended.text
