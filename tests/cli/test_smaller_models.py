"""Cut, quantized and trimmed models walk through every verb, and come back after a crash at the very end."""

import json
import shutil

import pytest
from commands import SMALL, plmc
from safetensors.torch import load_file

METHODS = "method=[head_prune,ffn_prune,qat,vocab_trim]"


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_small_model_from_training_to_answer(family, zoo, tmp_path):
    words = [*SMALL, "latency_rows=2", "task=mrpc", f"teacher.name={zoo[family]}", "recipe=kd", METHODS]
    words += ["methods.head_prune.ranking=global", "methods.qat.scheme=prune_ofa", "methods.head_prune.every=1"]
    trained = plmc("train", *words)
    assert trained.code == 0, trained.text
    folder = next(path.parent for path in tmp_path.glob("outputs/kd-mrpc-*/result.json"))
    result = json.loads((folder / "result.json").read_text())
    config = json.loads((folder / "model" / "config.json").read_text())
    full = json.loads((zoo[family] / "config.json").read_text())
    assert config["vocab_size"] < full["vocab_size"] and config["intermediate_size"] == 24
    assert sum(config["plmc"]["shape"]["heads"]) == 2 * config["num_hidden_layers"]
    assert config["plmc"]["quantization"]["scheme"] == "prune_ofa" and config["plmc"]["quantization"]["ranges"]
    tokenizer = json.loads((folder / "model" / "tokenizer.json").read_text())
    assert sorted(tokenizer["model"]["vocab"].values()) == list(range(config["vocab_size"]))
    assert str(tmp_path) not in (folder / "model" / "tokenizer_config.json").read_text().replace(str(zoo[family]), "")

    scored = plmc("evaluate", "kd-mrpc")
    assert scored.code == 0 and f"{result['metrics']['accuracy']:.4f}" in scored.text
    answered = plmc("predict", "kd-mrpc", "it rains .", "it is wet .")
    assert answered.code == 0 and json.loads(answered.text)["label"] in ("equivalent", "not_equivalent")

    # Killed after the last update: the stage is taken up from its state, and ends in the same files.
    before = load_file(folder / "model" / "model.safetensors")
    kept = {
        name: (folder / "model" / name).read_bytes()
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json")
    }
    (folder / "result.json").unlink()
    shutil.rmtree(folder / "model")
    again = plmc("train", *words)
    assert again.code == 0 and "finished before" in again.text, again.text
    after = load_file(folder / "model" / "model.safetensors")
    assert before.keys() == after.keys() and all(bool((before[name] == after[name]).all()) for name in before)
    assert kept == {name: (folder / "model" / name).read_bytes() for name in kept}
    assert json.loads((folder / "result.json").read_text())["metrics"] == result["metrics"]

    # A cut model is a student like any other, and keeps its shape.
    further = [*SMALL, "latency_rows=2", "task=mrpc", "recipe=finetune", "student=same", f"student.name={folder}"]
    tuned = plmc("train", *further, "teacher=none")
    assert tuned.code == 0, tuned.text
    made = next(tmp_path.glob("outputs/finetune-mrpc-*/model/config.json"))
    assert json.loads(made.read_text())["plmc"] == {"shape": config["plmc"]["shape"]}
