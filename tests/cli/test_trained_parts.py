"""A run that trains a part of its student says which part, on screen and in its record."""

import json

from commands import SMALL, plmc


def test_a_run_says_how_many_parameters_it_trains(zoo, tmp_path):
    student = (
        "student=base",
        *(f"{who}.name={zoo['bert']}" for who in ("student", "teacher")),
        f"output_dir={tmp_path}",
    )
    ended = plmc("train", *SMALL, "recipe=bitfit", "task=rte", *student)
    assert ended.code == 0, ended.text
    (folder,) = tmp_path.glob("bitfit-rte-*")
    record = json.loads((folder / "result.json").read_text())
    trained, whole = record["stages"][0]["trained_parameters"], record["student"]["parameters"]
    assert 0 < trained < whole / 10
    assert f"trains {trained:,} of {whole:,} parameters" in ended.message
    assert record["stages"][0]["metrics"]["loss"] > 0 and "loss" not in record["metrics"]
    plain = plmc("train", *SMALL, "recipe=finetune", "task=rte", *student)
    assert plain.code == 0 and "trains " not in plain.message
