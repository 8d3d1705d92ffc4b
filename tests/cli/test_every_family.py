"""Each family of models walks through every verb."""

import json
import subprocess
import sys

import pytest
import torch
from commands import SMALL, plmc
from zoo import FAMILIES

from plmc.core import rows as core_rows

ALL_METHODS = "method=[gmp,swa,hype,sam]"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_walks_through_every_verb(family, zoo, tmp_path):
    words = [*SMALL, "latency_rows=2", "task=mrpc", f"teacher.name={zoo[family]}"]
    tinybert = [*words, "recipe=tinybert", ALL_METHODS]

    checked = plmc("validate", *tinybert)
    assert checked.code == 0 and checked.text.startswith("ok tinybert-mrpc-1-")
    shown = plmc("show", *tinybert)
    assert shown.code == 0 and "1·layers/attention + 1·layers/hidden + 1·layers/embedding" in shown.text

    for recipe in (tinybert, [*words, "recipe=kd"]):
        trained = plmc("train", *recipe)
        assert trained.code == 0, trained.text
    # The second run found the first one's teacher.
    assert "is fine-tuned" not in trained.text

    result = json.loads(next(tmp_path.glob("outputs/tinybert-mrpc-*/result.json")).read_text())
    assert result["student"]["sparsity"] == pytest.approx(0.9, abs=0.002)
    assert [stage["name"] for stage in result["stages"]] == ["intermediate", "prediction"]

    scored = plmc("evaluate", "tinybert-mrpc")
    assert scored.code == 0 and f"{result['metrics']['accuracy']:.4f}" in scored.text

    answered = plmc("predict", "kd-mrpc", "it rains .", "it is wet .")
    answer = json.loads(answered.text)
    assert answer["label"] in ("equivalent", "not_equivalent") and sum(answer["scores"].values()) == pytest.approx(1)

    compared = plmc("compare", "--markdown", "new/table.md", "--csv", "table.csv", "--plot", "new/plot.png")
    assert compared.code == 0, compared.text
    for text in (compared.text, (tmp_path / "new/table.md").read_text(), (tmp_path / "table.csv").read_text()):
        assert f"teacher: {family}" in text and "tinybert+gmp+swa+hype+sam" in text
    assert (tmp_path / "new/plot.png").stat().st_size > 1000

    listed = plmc("ls", "runs")
    assert listed.code == 0 and {"kd-mrpc", "tinybert-mrpc", "teacher-mrpc"} <= {
        line.split("-1-")[0] for line in listed.text.splitlines()
    }


def test_questions_are_answered_from_a_text(small, tmp_path, pictures):
    trained = plmc("train", *small, "recipe=kd", "task=squad", "task.max_length=128", "task.stride=32")
    assert trained.code == 0, trained.text
    record = json.loads(next(tmp_path.glob("outputs/kd-squad-*/predictions/validation.jsonl")).open().readline())
    assert {"prediction", "label", "exact_match", "f1"} <= set(record)
    assert len(list(tmp_path.glob("outputs/kd-squad-*/plots/*.png"))) == 2
    assert plmc("evaluate", "kd-squad").code == 0

    context = "the old boat lies in the harbour ."
    answer = json.loads(plmc("predict", "kd-squad", "where does the boat lie ?", context).text)
    assert answer["answer"] in context
    alone = plmc("predict", "kd-squad", "where does the boat lie ?")
    assert alone.code == 2 and "give a question and a text" in alone.message


def test_predict_reads_files_as_it_reads_the_command_line(small, tmp_path, monkeypatch):
    assert plmc("train", *small, "recipe=finetune", "task=sst2", "latency_rows=0").code == 0
    texts = ["a fine day", "a dull day", "the harbour"]
    (tmp_path / "a.txt").write_text("\n".join(texts) + "\n")
    (tmp_path / "b.csv").write_text("sentence,other\n" + "".join(f"{text},1\n" for text in texts))
    (tmp_path / "c.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    direct = [json.loads(plmc("predict", "finetune-sst2", text).text) for text in texts]
    for name in ("a.txt", "b.csv", "c.jsonl"):
        ended = plmc("predict", "finetune-sst2", "--file", name, "--out", "new/answers.jsonl")
        assert ended.code == 0, ended.text
        found = [json.loads(line) for line in (tmp_path / "new/answers.jsonl").read_text().splitlines()]
        assert [row["texts"] for row in found] == [[text] for text in texts]
        assert [row["score"] for row in found] == pytest.approx([row["score"] for row in direct], abs=1e-5)

    # Long and short texts in turns: answers keep the order of the file, and batches hold texts of like length.
    mixed = [" ".join(["the harbour"] * (1 + 13 * (i % 2)) + ["a"] * (i % 5)) for i in range(40)]
    (tmp_path / "mixed.txt").write_text("\n".join(mixed) + "\n")
    seen = []
    tokens = torch.nn.Embedding.forward

    def forward(self, ids):
        seen.append(ids)
        return tokens(self, ids)

    monkeypatch.setattr(core_rows, "TOKENS", 100)
    monkeypatch.setattr(torch.nn.Embedding, "forward", forward)
    answers = [json.loads(line) for line in plmc("predict", "finetune-sst2", "--file", "mixed.txt").text.splitlines()]
    monkeypatch.setattr(torch.nn.Embedding, "forward", tokens)
    assert [row["texts"] for row in answers] == [[text] for text in mixed]
    alone = [json.loads(plmc("predict", "finetune-sst2", text).text)["score"] for text in mixed[:4]]
    assert [row["score"] for row in answers[:4]] == pytest.approx(alone, abs=1e-5)
    widths = [ids.shape[1] for ids in seen if ids.dim() == 2 and len(ids)]
    assert min(widths) < 10 and max(widths) > 25

    pair = plmc("predict", "finetune-sst2", "a fine day", "a dull day")
    assert pair.code == 2 and "trained on sst2: give one text" in pair.message
    (tmp_path / "d.csv").write_text("title,other\nx,1\n")
    unnamed = plmc("predict", "finetune-sst2", "--file", "d.csv")
    assert unnamed.code == 3 and "d.csv, line 2: no text found" in unnamed.message
    assert "no such file" in plmc("predict", "finetune-sst2", "--file", "e.txt").message


def test_a_model_without_a_trained_head_answers_nothing(zoo):
    for ended in (plmc("predict", zoo["bert"], "a text"), plmc("evaluate", zoo["bert"], "task=sst2", "data=embedded")):
        assert ended.code == 2 and "is not fine-tuned" in ended.message


def test_the_installed_command_does_the_same(small, tmp_path):
    words = [sys.executable, "-m", "plmc.cli.app", "train", *small, "recipe=finetune", "task=rte", "latency_rows=0"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr
    folder = ended.stdout.strip().splitlines()[-1]
    assert folder == str(next(tmp_path.glob("outputs/finetune-rte-1-*")))
    again = plmc("train", *small, "recipe=finetune", "task=rte", "latency_rows=0")
    assert again.code == 0 and "finished before" in again.text and folder in again.text
