"""Language model stages from the command line: pruned once, transferred, named again; distilled; resumed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from commands import plmc
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

from plmc.training.trainer import Trainer

WORDS = (
    "data=embedded",
    "tracking=off",
    "threads=1",
    "data.train_rows=64",
    "data.validation_rows=24",
    "data.test_rows=8",
    "teacher=base",
    "teacher.epochs=1",
    "latency_rows=0",
    "budget.steps=6",
    "train.batch_size=16",
)


def text(stage: str) -> tuple[str, ...]:
    return f"recipe.stages.{stage}.task.corpus=embedded", f"recipe.stages.{stage}.task.rows=80"


def run_of(name: str) -> Path:
    return next(Path("outputs").glob(f"{name}-*/result.json")).parent


def pattern(folder: Path) -> dict[str, torch.Tensor]:
    weights = load_file(folder / "model.safetensors")
    inner = [n for n in weights if n.endswith("weight") and ("layer." in n or "pooler" in n) and "LayerNorm" not in n]
    return {name: weights[name] == 0 for name in inner}


@pytest.fixture
def bare(zoo, tmp_path) -> Path:
    """The tiny BERT without a language model head."""
    folder = tmp_path / "bare"
    AutoModel.from_pretrained(zoo["bert"]).save_pretrained(folder)
    AutoTokenizer.from_pretrained(zoo["bert"]).save_pretrained(folder)
    return folder


def test_pruned_once_locked_through_transfer_and_named_as_student(bare):
    words = (*WORDS, "recipe=prune_ofa", "task=sst2", f"teacher.name={bare}", *text("prepare"))
    trained = plmc("train", *words)
    assert trained.code == 0, trained.text
    assert "stage head" in trained.text and "stage prepare" in trained.text
    run = run_of("prune_ofa-sst2")
    before, after = pattern(run / "models" / "prune"), pattern(run / "model")
    assert len(before) == 25 and before.keys() == after.keys()
    for name, zeros in before.items():
        assert int(zeros.sum()) == int(0.9 * zeros.numel() + 1e-9) and torch.equal(zeros, after[name])

    words = (*WORDS, "recipe=prune_ofa_transfer", "task=rte", f"teacher.name={bare}", "recipe.stages.qat=null")
    again = plmc("train", *words, f"student.name={run / 'models' / 'prune'}")
    assert again.code == 0, again.text
    assert "stage transfer" in again.text and "stage prune" not in again.text and "stage qat" not in again.text
    later = pattern(run_of("prune_ofa_transfer-rte") / "model")
    assert all(torch.equal(zeros, later[name]) for name, zeros in before.items())


def test_the_head_is_made_once(bare):
    words = (*WORDS, "recipe=distilbert", f"teacher.name={bare}", *text("distil"))
    first, second = (plmc("train", *words, f"task={task}") for task in ("sst2", "rte"))
    assert (first.code, second.code) == (0, 0), first.text + second.text
    assert "gets a language model head" in first.text and "gets a language model head" not in second.text


def test_killed_in_a_language_model_stage_it_ends_as_if_it_had_not_been(zoo, monkeypatch):
    words = (
        *WORDS,
        "recipe=distilbert",
        "task=sst2",
        f"teacher.name={zoo['bert']}",
        *text("distil"),
        "checkpoint.steps=2",
    )
    assert plmc("train", *words, "output_dir=whole").code == 0
    update, count = Trainer._update, 0

    def dies(self, micro):
        nonlocal count
        count += 1
        if count == 4:
            raise RuntimeError("killed")
        update(self, micro)

    monkeypatch.setattr(Trainer, "_update", dies)
    assert plmc("train", *words, "output_dir=cut").code != 0
    monkeypatch.setattr(Trainer, "_update", update)
    assert plmc("train", *words, "output_dir=cut").code == 0
    one, two = (next(Path(root).glob("distilbert-*")) for root in ("whole", "cut"))
    for part in ("models/distil", "model"):
        weights = [load_file(run / part / "model.safetensors") for run in (one, two)]
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    told = [json.loads((run / "result.json").read_text())["stages"] for run in (one, two)]
    assert [stage["metrics"] for stage in told[0]] == [stage["metrics"] for stage in told[1]]


def test_language_modelling_is_a_task_of_its_own(zoo, tmp_path):
    path = tmp_path / "book.txt"
    from plmc.data.embedded import Embedded

    path.write_text("\n".join(Embedded().corpus(120)) + "\n")
    words = (*WORDS, "task=mlm", f"task.corpus={path}", "task.held_out=20%", f"teacher.name={zoo['roberta']}")
    trained = plmc("train", *words, "recipe=prune_ofa_85")
    assert trained.code == 0, trained.text
    result = json.loads((run_of("prune_ofa_85-mlm") / "result.json").read_text())
    assert [stage["name"] for stage in result["stages"]] == ["prune"]
    assert set(result["metrics"]) == {"accuracy", "loss", "perplexity"} == set(result["teacher"]["metrics"])
    assert result["student"]["sparsity"] == pytest.approx(0.85, abs=0.005)
    scored = plmc("evaluate", "prune_ofa_85-mlm")
    assert scored.code == 0 and f"{result['metrics']['loss']:.4f}" in scored.text
