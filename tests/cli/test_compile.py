"""compile=true: the student's blocks compiled while they train."""

import json
import shutil
from pathlib import Path

import pytest
from commands import plmc

RECIPES = ("recipe=kd", "recipe=finetune method=[sam]", "recipe=tinybert")


def losses(folder: Path) -> list[float]:
    lines = next(folder.glob("*-sst2-*/tracking/events.jsonl")).read_text().splitlines()
    values = {event["step"]: event["values"] for event in map(json.loads, lines) if "loss" in event.get("values", ())}
    return [values[step]["loss"] for step in sorted(values)]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_compiled_student_learns_what_the_plain_one_learns(small, zoo, tmp_path, recipe):
    # Compiled kernels draw their dropout masks in another order, so there are none here.
    config = json.loads((zoo["bert"] / "config.json").read_text())
    model = tmp_path / "model"
    shutil.copytree(zoo["bert"], model)
    (model / "config.json").write_text(
        json.dumps(config | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0})
    )
    words = [
        *small,
        f"teacher.name={model}",
        "task=sst2",
        "latency_rows=0",
        "precision=fp32",
        "budget.steps=5",
        "budget.lr=3e-3",
        "log_every=1",
        *recipe.split(),
    ]
    for name in ("false", "true"):
        ended = plmc("train", *words, f"compile={name}", f"output_dir={tmp_path / name}")
        assert ended.code == 0, ended.text
    plain, compiled = losses(tmp_path / "false"), losses(tmp_path / "true")
    assert len(plain) >= 5 and compiled == pytest.approx(plain, rel=1e-5)
    assert plain[0] != pytest.approx(plain[-1], rel=1e-4)
