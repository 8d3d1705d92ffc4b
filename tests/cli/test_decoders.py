"""Decoders as teachers of classification, for a student that splits text in another way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from commands import SMALL, plmc
from zoo import decoder, save

import plmc as face
from plmc.models import load
from plmc.models.spec import ModelSpec
from plmc.tasks.glue import Glue

KINDS = {"qwen3": True, "llama": False}  # with a padding token, and without


@pytest.mark.parametrize("kind", KINDS)
def test_a_decoder_teaches_a_student_of_another_tokenizer(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    teacher, student = decoder(tmp_path / kind, kind, padding=KINDS[kind]), save(tmp_path / "bert", "bert")
    words = ("teacher=base", f"teacher.name={teacher}", "student=base", f"student.name={student}", "task=rte")
    ended = plmc("train", *SMALL, *words, "recipe=kd", "latency_rows=2")
    assert ended.code == 0 and "each reads with its own tokenizer" in ended.message, ended.text
    (run,) = (path.parent for path in Path("outputs").glob("kd-*/result.json"))
    record = json.loads((run / "result.json").read_text())
    assert record["teacher"]["learned_from"] and record["teacher"]["metrics"]
    (made,) = Path("outputs/teachers").glob("teacher-rte-*/model")
    again = plmc("train", *SMALL, *words, "recipe=kd", "latency_rows=0", f"teacher.checkpoint={made}")
    assert again.code == 0, again.text
    assert face.predict(made, [("it rains .", "it is wet .")])[0]["label"] in ("entailment", "not_entailment")
    # What takes parts of a model has none to take.
    refused = plmc("train", *SMALL, "recipe=finetune", "method=[gmp]", *words, f"student.name={teacher}")
    assert refused.code == 2 and "plmc can take apart" in refused.message and "updates of" not in refused.text
    inner = plmc("train", *SMALL, "recipe=tinybert", *words, "student.layers=2")
    assert inner.code == 2 and "split text into different tokens" in inner.message, inner.text


@pytest.mark.parametrize("kind", KINDS)
def test_the_answer_is_that_of_the_last_token_whatever_stands_next_to_it(kind, tmp_path):
    folder = decoder(tmp_path / kind, kind, padding=KINDS[kind])
    model = load.build(ModelSpec(name=str(folder)), Glue(name="rte"), seed=1).eval()
    tokenizer = load.load_tokenizer(str(folder))
    assert model.config.pad_token_id == tokenizer.pad_token_id is not None
    texts = ["it rains", "it rains and the street is wet today"]
    with torch.no_grad():
        alone = [model(**tokenizer(text, return_tensors="pt")).logits for text in texts]
        together = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    assert (alone[0] - alone[1]).abs().max() > 1e-4
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-6)


def test_a_tokenizer_without_any_end_is_refused(tmp_path):
    folder = decoder(tmp_path / "qwen3", "qwen3", padding=False)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "eos_token"}))
    (folder / "special_tokens_map.json").unlink(missing_ok=True)
    ended = plmc("validate", *SMALL, "recipe=finetune", "student=base", "teacher=none", f"student.name={folder}")
    assert ended.code == 2 and "neither a padding token" in ended.message, ended.text
