"""Models that answer every row alike, and teachers that are not what they seem: nothing passes without a word."""

import json

import pytest
import torch
from commands import SMALL, plmc
from safetensors.torch import load_file, save_file
from test_bad_files import own, table  # noqa: F401
from test_bad_teachers import judged
from test_bad_words import refused

from plmc.tasks.alike import learnt_nothing, one_answer, one_label, remarks


def result(folder, pattern):
    return json.loads(next(folder.glob(f"{pattern}/result.json")).read_text())


def rows(predictions, labels):
    return [{"id": i, "prediction": p, "label": y} for i, (p, y) in enumerate(zip(predictions, labels, strict=True))]


def test_what_counts_as_alike():
    assert one_answer(rows("aab", "abb")) is None and one_answer(rows("aaa", "abb")) == "a"
    assert (
        one_label(rows("ab", [1, 1])) == "1"
        and not learnt_nothing(rows("aa", "aa"))
        and learnt_nothing(rows("aa", "ab"))
    )
    assert learnt_nothing(rows([2.50001, 2.50002], [1.0, 2.0])) and not learnt_nothing(rows([2.5, 2.6], [1.0, 2.0]))
    assert not remarks(rows("a", "b"), "dev") and not remarks([{"prediction": "a"}], "dev")
    assert "all 2 dev rows get the same answer (a)" in remarks(rows("aa", "ab"), "dev")[0]
    assert "all 2 dev rows have the label b" in remarks(rows("aa", "bb"), "dev")[0]


def always(folder, source, label):
    """A copy of the fine-tuned model in `source` that answers `label` whatever it reads."""
    import shutil

    shutil.copytree(source, folder, dirs_exist_ok=True)
    weights = load_file(folder / "model.safetensors")
    weights["classifier.weight"].zero_()
    weights["classifier.bias"] = torch.eye(2)[label]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_teacher_that_has_learnt_nothing_is_said_and_nothing_is_kept_of_it(own, zoo, tmp_path):  # noqa: F811
    good = judged(zoo, tmp_path, ["no", "yes"])
    ended = plmc("train", *own, "recipe=kd", f"teacher.checkpoint={always(tmp_path / 'useless', good, 1)}")
    assert ended.code == 0, ended.text
    assert "has learnt nothing: it gives every row the same answer" in ended.message
    assert (
        "Name another checkpoint" in ended.message and "kept" not in ended.text.split("speed-up")[-2].splitlines()[-1]
    )
    found = result(tmp_path, "outputs/kd-custom-*")
    assert found["teacher"]["learnt_nothing"] and any("has learnt nothing" in text for text in found["warnings"])
    compared = plmc("compare")
    assert "has learnt nothing, so no share of its score is given" in compared.message, compared.text


def test_a_good_teacher_is_not_blamed(own, zoo, tmp_path):  # noqa: F811
    ended = plmc("train", *own, "recipe=kd", f"teacher.checkpoint={judged(zoo, tmp_path, ['yes', 'no'])}")
    assert ended.code == 0 and "learnt nothing: it" not in ended.message.replace("this model has learnt nothing", "")
    assert result(tmp_path, "outputs/kd-custom-*")["teacher"]["learnt_nothing"] is False


def test_a_student_that_answers_alike_is_said(small_run):
    found, ended = small_run
    alike = {r["prediction"] for r in map(json.loads, found["predictions"])}
    assert (len(alike) == 1) == bool(found["collapsed"]) == ("get the same answer" in ended.message)


@pytest.fixture(scope="module")
def small_run(tmp_path_factory, zoo):
    folder = tmp_path_factory.mktemp("alike")
    ended = plmc(
        "train",
        *SMALL,
        "recipe=finetune",
        "task=cola",
        "student=base",
        f"student.name={zoo['bert']}",
        "teacher=none",
        "train.lr=1e-12",
        f"output_dir={folder}",
    )
    assert ended.code == 0, ended.text
    found = result(folder, "finetune-*")
    lines = next(folder.glob("finetune-*/predictions/validation.jsonl")).read_text().splitlines()
    return {**found, "predictions": lines}, ended


def test_a_model_with_weights_that_are_no_numbers_is_named(own, zoo, tmp_path):  # noqa: F811
    good = judged(zoo, tmp_path, ["no", "yes"])
    weights = load_file(good / "model.safetensors")
    weights["bert.encoder.layer.0.output.dense.bias"][0] = float("nan")
    save_file(weights, good / "model.safetensors", metadata={"format": "pt"})
    ended = plmc("train", *own, "recipe=kd", f"teacher.checkpoint={good}")
    refused(ended, 2, f"model {good}: bert.encoder.layer.0.output.dense.bias holds NaN or infinite numbers")


def test_evaluate_checks_the_order_of_a_foreign_models_classes(own, zoo, tmp_path):  # noqa: F811
    words = [word for word in own if word.startswith("task")]
    folder = judged(zoo, tmp_path, ["happy", "unhappy"])
    ended = plmc("evaluate", str(folder), *words)
    refused(ended, 2, "another order than the task's (no, yes)", "teacher.label_order=[1,0]")
    assert "its classes are not the task's. They are taken in their order: happy as no, unhappy as yes" in ended.message
    ended = plmc("evaluate", str(folder), *words, "teacher.label_order=[1,0]")
    assert ended.code == 0 and "1.0000" in ended.text, ended.text


def test_evaluate_puts_named_classes_in_order(own, zoo, tmp_path):  # noqa: F811
    folder = judged(zoo, tmp_path, ["yes", "no"])
    ended = plmc("evaluate", str(folder), *(word for word in own if word.startswith("task")))
    assert ended.code == 0 and "reordered by name" in ended.message and "1.0000" in ended.text, ended.text
