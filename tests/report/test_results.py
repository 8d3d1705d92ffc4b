"""Finding, reading and grouping the folders of runs."""

import json
import shutil

import pytest
from run_folders import make_run

from plmc.errors import DamagedFile, DataError, PlmcError
from plmc.report.labels import arm_labels, model_label
from plmc.results.find import Arm, arms, find, load
from plmc.results.record import VERSION, read


def test_words_select_runs(tmp_path):
    for task in ("sst2", "rte"):
        for recipe in ("kd", "tinybert", "finetune"):
            make_run(tmp_path, recipe=recipe, task=task)
    assert len(find(tmp_path)) == 6
    chosen = find(tmp_path, ["task=rte", "recipe=kd,tinybert"])
    assert {(run.record.task, run.record.recipe) for run in chosen} == {("rte", "kd"), ("rte", "tinybert")}
    assert len(find(tmp_path, ["recipe=*d"])) == 2
    assert len(find(tmp_path, ["method=layers_kd"])) == 2
    assert find(tmp_path, ["task=nowhere"]) == []


def test_words_reach_into_the_config(tmp_path):
    for final in (0.5, 0.8):
        make_run(tmp_path, config={"methods": {"gmp": {"final": final}}})
    (run,) = find(tmp_path, ["methods.gmp.final=0.8"])
    assert run.config["methods"]["gmp"]["final"] == 0.8


def test_runs_by_signature_folder_and_mlflow_id(tmp_path):
    folder, other = make_run(tmp_path, seed=1), make_run(tmp_path, seed=2)
    for word in (folder.name, folder.name[:5], str(folder), f"run{folder.name}"):
        assert [run.signature for run in find(tmp_path, [word])] == [folder.name]
    assert {run.signature for run in find(tmp_path, [folder.name, other.name])} == {folder.name, other.name}
    assert find(tmp_path, [folder.name, "seed=2"]) == []
    with pytest.raises(PlmcError, match="zzz.*no finished run"):
        find(tmp_path, ["zzz"])


def test_a_folder_elsewhere_can_be_named(tmp_path):
    folder = make_run(tmp_path / "elsewhere")
    assert [run.folder for run in find(tmp_path / "outputs", [str(folder)])] == [folder]


def test_unfinished_and_damaged_runs_are_left_out_with_a_note(tmp_path):
    good, running, unwritten, cut, empty = (make_run(tmp_path, seed=seed) for seed in range(5))
    result = json.loads((running / "result.json").read_text())
    (running / "result.json").write_text(json.dumps(result | {"status": "running"}))
    (unwritten / "result.json").unlink()
    (cut / "result.json").write_text((cut / "result.json").read_text()[:50])
    (empty / "result.json").write_text(json.dumps({"status": "finished"}))
    (tmp_path / "teachers").mkdir()
    notes = []
    assert [run.folder for run in find(tmp_path, note=notes.append)] == [good]
    assert len(notes) == 4
    for folder, word in (
        (running, "status 'running'"),
        (unwritten, "no result.json"),
        (cut, "damaged"),
        (empty, "lacks"),
    ):
        (text,) = [text for text in notes if str(folder) in text]
        assert word in text


def test_seeds_and_neutral_keys_make_one_arm(tmp_path):
    for seed in (3, 1, 2):
        make_run(tmp_path, seed=seed, config={"threads": seed, "log_every": seed})
    make_run(tmp_path, seed=1, config={"train": {"lr": 1e-4}})
    groups = arms(find(tmp_path))
    assert sorted(len(arm.runs) for arm in groups) == [1, 3]
    (three,) = [arm for arm in groups if len(arm.runs) == 3]
    assert [run.record.seed for run in three.runs] == [1, 2, 3]


def test_the_teachers_other_settings_separate_arms(tmp_path):
    make_run(tmp_path, seed=1, config={"teacher": {"name": "big", "seed": 1}})
    make_run(tmp_path, seed=2, config={"teacher": {"name": "bigger", "seed": 2}})
    assert len(arms(find(tmp_path))) == 2


def test_a_teacher_whose_score_is_known_but_taught_nothing_separates_nothing(tmp_path):
    # The teacher of the first was not there yet; some other run made it before the second.
    unknown = {"name": "big", "metrics": None, "learned_from": False}
    known = {"name": "big", "metrics": {"accuracy": 0.9}, "learned_from": False}
    make_run(tmp_path, recipe="finetune", seed=1, teacher=unknown, config={"teacher": {"name": "big", "lr": 1}})
    make_run(tmp_path, recipe="finetune", seed=2, teacher=known, config={"teacher": {"name": "big", "lr": 2}})
    assert len(arms(find(tmp_path))) == 1


def test_a_teacher_that_was_not_looked_at_separates_nothing(tmp_path):
    for seed, name in ((1, "big"), (2, "bigger")):
        make_run(tmp_path, recipe="finetune", seed=seed, teacher=None, config={"teacher": {"name": name}})
    assert len(arms(find(tmp_path))) == 1


def test_the_files_of_a_teacher_that_was_not_looked_at_separate_nothing(tmp_path):
    for seed, digest in ((1, "a"), (2, "b")):
        files = {"teacher.checkpoint": digest, "data.train": "same"}
        make_run(
            tmp_path,
            recipe="finetune",
            seed=seed,
            config={"files": files},
            teacher={"name": "x", "learned_from": False},
        )
    assert len(arms(find(tmp_path))) == 1


def test_arms_that_differ_in_nothing_that_is_shown_keep_their_plain_label(tmp_path):
    make_run(tmp_path)
    (run,) = find(tmp_path)
    assert arm_labels([Arm((run,)), Arm((run,))]) == ["kd", "kd"]


def test_equal_labels_are_told_apart_by_what_differs(tmp_path):
    for final, lr in ((0.5, 1e-5), (0.8, 1e-5), (0.8, 2e-5)):
        deep = {"stages": {"a": {"methods": {"gmp": {"final": final}}}}}
        make_run(tmp_path, label="kd+gmp", config={"methods": {"gmp": {"final": final}}, "train": {"lr": lr}} | deep)
    make_run(tmp_path, recipe="finetune", label="finetune")
    labels = arm_labels(arms(find(tmp_path)))
    assert sorted(labels) == [
        "finetune",
        "kd+gmp (train.lr=1e-05, methods.gmp.final=0.5)",
        "kd+gmp (train.lr=1e-05, methods.gmp.final=0.8)",
        "kd+gmp (train.lr=2e-05, methods.gmp.final=0.8)",
    ]


def test_model_labels_drop_folders_and_keep_hub_ids():
    assert model_label("google-bert/bert-base-uncased") == "google-bert/bert-base-uncased"
    assert model_label("/data/models/mine") == "mine"
    assert model_label("../mine") == "mine"


def test_a_copied_folder_counts_once(tmp_path):
    folder, notes = make_run(tmp_path), []
    shutil.copytree(folder, tmp_path / "zcopy")
    assert len(find(tmp_path, note=notes.append)) == 1
    assert "repeats" in notes[0]


def test_spread_is_the_sample_deviation(tmp_path):
    for seed, accuracy in ((1, 0.7), (2, 0.8), (3, 0.9)):
        make_run(tmp_path, seed=seed, accuracy=accuracy)
    (arm,) = arms(find(tmp_path))
    assert arm.spread(lambda run: run.score) == pytest.approx((0.8, 0.1))
    assert arm.spread(lambda run: None) is None


def test_predictions_name_the_damaged_line(tmp_path):
    folder = make_run(tmp_path)
    path = folder / "predictions" / "validation.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:4], lines[4][:7], *lines[5:]]))
    with pytest.raises(DataError, match="line 5"):
        load(folder).predictions()
    path.unlink()
    with pytest.raises(DataError, match="no predictions"):
        load(folder).predictions()


def test_the_test_split_is_never_the_one_that_decides(tmp_path):
    folder = make_run(tmp_path)
    stored = folder / "predictions"
    (stored / "validation.jsonl").rename(stored / "dev.jsonl")
    (stored / "test.jsonl").write_text("{}\n")
    assert load(folder).split() == "dev"


# The record.


def test_a_record_is_read_back_as_it_was_written(tmp_path):
    record = load(make_run(tmp_path, accuracy=0.81)).record
    record.exports = {"onnx-int8": {"size_bytes": 5}}
    record.write(tmp_path / "again.json")
    assert read(tmp_path / "again.json") == record and record.version == VERSION


def test_what_a_later_version_adds_outlives_a_rewrite(tmp_path):
    folder = make_run(tmp_path, accuracy=0.81)
    content = json.loads((folder / "result.json").read_text())
    content["later"], content["student"]["later"] = {"a": 1}, 2
    (folder / "result.json").write_text(json.dumps({**content, "version": VERSION + 1}))
    load(folder).record.write(folder / "result.json")
    kept = json.loads((folder / "result.json").read_text())
    assert kept["later"] == {"a": 1} and kept["student"]["later"] == 2 and kept["version"] == VERSION + 1


def test_parts_that_earlier_versions_left_out_or_null_are_empty(tmp_path):
    record = load(make_run(tmp_path, teacher=None, latency=None)).record
    assert record.teacher.metrics is None and record.latency.batch_1_ms is None and record.exports == {}


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"metrics": None}, "metrics=None"),
        ({"warnings": 3}, "warnings=3"),
        ({"primary_metric": "f1"}, "it lacks metrics.f1"),
        ({"stages": [{"steps": 3}]}, "it lacks stages.0.name"),
    ],
)
def test_a_record_of_wrong_types_is_damaged(tmp_path, changes, says):
    folder = make_run(tmp_path, **changes)
    with pytest.raises(DamagedFile, match=says):
        read(folder / "result.json")
