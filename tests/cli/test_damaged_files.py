"""A flipped bit in what plmc wrote is noticed; what can be made again is."""

import json
import shutil

import pytest
from commands import plmc
from damage import one_bit_flipped
from test_bad_words import refused


@pytest.fixture
def kd(small):
    """A distillation that sees every row once, so that the teacher's outputs are stored."""
    return [*small, "recipe=kd", "task=rte", "latency_rows=0", "budget.steps=null", "budget.epochs=1"]


def result(tmp_path, pattern="outputs/kd-rte-*"):
    return json.loads((next(tmp_path.glob(pattern)) / "result.json").read_text())


def flip_weight(path):
    """One bit of the last weights of a safetensors file."""
    data = bytearray(path.read_bytes())
    data[-70] ^= 8
    path.write_bytes(data)


def test_a_damaged_teacher_is_trained_again(kd, tmp_path):
    assert plmc("train", *kd).code == 0
    before = result(tmp_path)
    teacher = next(tmp_path.glob("outputs/teachers/teacher-rte-*/model"))
    flip_weight(teacher / "model.safetensors")
    ended = plmc("train", *kd, "force=true")
    assert ended.code == 0, ended.text
    assert f"{teacher / 'model.safetensors'} is damaged" in ended.text and "The teacher is trained again" in ended.text
    after = result(tmp_path)
    assert (after["metrics"], after["teacher"]) == (before["metrics"], before["teacher"])
    assert len(list(tmp_path.glob("outputs/damaged/teacher-rte-*/model"))) == 1


@pytest.mark.parametrize("name", ["result.json", "model/tokenizer.json", "model/config.json"])
def test_every_file_of_a_teacher_counts(name, kd, tmp_path):
    assert plmc("train", *kd).code == 0
    before = result(tmp_path)
    one_bit_flipped(next(tmp_path.glob("outputs/teachers/teacher-rte-*/model")).parent / name)
    ended = plmc("train", *kd, "force=true")
    assert ended.code == 0 and "The teacher is trained again" in ended.text, ended.text
    assert result(tmp_path)["metrics"] == before["metrics"]


def test_a_student_with_a_flipped_bit_answers_nothing(small, tmp_path):
    words = [*small, "recipe=finetune", "task=sst2", "latency_rows=0"]
    assert plmc("train", *words).code == 0
    run = next(tmp_path.glob("outputs/finetune-sst2-*"))
    shutil.copytree(run / "model", tmp_path / "copy")
    flip_weight(run / "model" / "model.safetensors")
    for verb, *more in (["evaluate"], ["predict", "a fine day"], ["export"], ["bench", "--batch", "1"]):
        refused(plmc(verb, run.name, *more), 3, f"{run.name}/model/model.safetensors is damaged", "with force=true")
    after = plmc("train", *small, "recipe=finetune", "task=rte", "student=base", f"student.name={run}")
    refused(after, 3, "model.safetensors is damaged")
    # A copy that somebody changes on purpose is theirs.
    flip_weight(tmp_path / "copy" / "model.safetensors")
    assert plmc("predict", "copy", "a fine day").code == 0


@pytest.mark.parametrize("kind", ["teacher/*/head0.npy", "*/data-*.arrow", "augment-*.arrow"])
def test_caches_are_healed_with_one_line(kind, kd, tmp_path):
    # Outputs are stored where every row is seen, which one pass over the original rows does not of varied ones.
    more = ["method=[augment]", "methods.augment.n=1", "methods.augment.candidates=embeddings"]
    words = kd if kind.startswith("teacher") else [*kd, *more]
    assert plmc("train", *words).code == 0
    before = result(tmp_path)
    files = sorted(tmp_path.glob(f"outputs/cache/{kind}"))
    whole = [file.read_bytes() for file in files]
    for file in files:
        one_bit_flipped(file)
    ended = plmc("train", *words, "force=true")
    assert files and ended.code == 0, ended.text
    assert ended.text.count("is damaged") == len(files) and "again" in ended.text
    assert result(tmp_path)["metrics"] == before["metrics"]
    assert [file.read_bytes() for file in files] == whole


def test_a_damaged_result_is_made_again(kd, tmp_path):
    assert plmc("train", *kd).code == 0
    before = result(tmp_path)
    path = next(tmp_path.glob("outputs/kd-rte-*")) / "result.json"
    text = path.read_text()
    path.write_text(text.replace('"accuracy": 0', '"accuracy": 1', 1))
    assert path.read_text() != text
    assert "does not fit its own sha256" in plmc("compare").message
    ended = plmc("train", *kd)
    assert ended.code == 0 and "made again from what the run left" in ended.text and "updates of" not in ended.text
    assert result(tmp_path)["metrics"] == before["metrics"]


def test_runs_of_older_versions_are_taken_as_they_are(kd, tmp_path):
    assert plmc("train", *kd).code == 0
    for path in tmp_path.glob("outputs/**/*.json"):
        record = json.loads(path.read_text())
        if isinstance(record, dict) and record.pop("sha256", None):
            record.pop("files", None)
            path.write_text(json.dumps(record))
    for path in tmp_path.glob("outputs/cache/**/digests.json"):
        path.unlink()
    run = next(tmp_path.glob("outputs/kd-rte-*")).name
    assert "finished before" in plmc("train", *kd).text
    again = plmc("train", *kd, "seed=2", "teacher.seed=1")
    assert again.code == 0 and "is fine-tuned" not in again.text and "damaged" not in again.text
    assert plmc("evaluate", run).code == 0 and plmc("compare").code == 0


def test_rows_seen_that_hold_objects_are_refused(small, tmp_path):
    import numpy as np

    words = [*small, "recipe=finetune", "latency_rows=0"]
    assert plmc("train", *words, "task=rte").code == 0
    run = next(tmp_path.glob("outputs/finetune-rte-*"))
    for path in (run / "result.json", run / "seen.npy"):
        path.unlink()
    np.save(run / "seen.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    ended = plmc("train", *words, "task=rte", "seed=2", "student=base", f"student.name={run}")
    refused(ended, 3, f"{run / 'seen.npy'} is damaged", "delete the file to go on")
