"""The user's own files: four formats, one result; and errors that say what to type."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hydra.utils import instantiate

from plmc.errors import ConfigError, DataError
from plmc.tasks.custom import Custom
from plmc.tasks.rows import subset
from plmc.testing.stage import tiny_tokenizer

ROWS = [("a, b", "x", "pos"), ('say "hi"', "y", "neg"), ("plain", "z", "pos")]
NAMES = ("sentence", "other", "label")


def write(path, rows=ROWS, names=NAMES):
    if path.suffix == ".parquet":
        pq.write_table(pa.table(dict(zip(names, zip(*rows, strict=True), strict=True))), path)
        return path
    if ".jsonl" in path.name:
        text = "\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows) + "\n\n"
    elif ".csv" in path.name:
        quoted = [[f'"{cell}"' for cell in (str(c).replace('"', '""') for c in row)] for row in rows]
        text = "\n".join(",".join(row) for row in [list(names), *quoted]) + "\n"
    else:
        text = "\n".join("\t".join(map(str, row)) for row in [names, *rows]) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def custom(path, **fields):
    return Custom(**({"train": str(path), "text": ["sentence"], "label": "label"} | fields))


def listed(rows):
    return [tuple(row.values()) for row in rows]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.tsv", "a.tsv.gz", "a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_every_format_gives_the_same_rows(tmp_path, name):
    task = custom(write(tmp_path / name), text=["sentence", "other"])
    assert task.labels == ("neg", "pos") and task.text == ("text_a", "text_b") and task.own_source.name == "custom"
    rows = task.own_source.load(task)["train"]
    assert listed(rows) == [(0, "a, b", "x", 1), (1, 'say "hi"', "y", 0), (2, "plain", "z", 1)]


def test_the_config_builds_it_and_replace_keeps_it(tmp_path):
    config = yaml.safe_load((Path(__file__).resolve().parents[2] / "conf" / "task" / "custom.yaml").read_text())
    config |= {"train": str(write(tmp_path / "a.csv")), "text": ["sentence"]}
    task = instantiate(config, _convert_="all")
    assert (task.metric, task.kind, task.outputs) == ("accuracy", "classification", 2)
    again = replace(task, max_length=9)
    assert replace(again, max_length=task.max_length) == task and again.columns == ("sentence",)
    assert again.text == ("text_a",)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([10, 9, 1], ("1", "9", "10")),
        (["b", "a", "c"], ("a", "b", "c")),
        ([2.0, 0.0, 1.0], ("0", "1", "2")),
        ([True, False, True], ("0", "1")),
    ],
)
def test_labels_are_the_sorted_values(tmp_path, values, expected):
    path = write(tmp_path / "a.jsonl", [("t", "o", value) for value in values])
    task = custom(path)
    assert task.labels == expected
    ids = task.own_source.load(task)["train"]["label"][:]
    assert [float(expected[i]) if expected[0] != "a" else expected[i] for i in ids] == values


def test_named_labels_keep_their_order_and_take_numbers(tmp_path):
    path = write(tmp_path / "a.csv", [("t", "o", 0), ("t", "o", 1)])
    task = custom(path, labels=["neg", "pos"])
    assert task.own_source.load(task)["train"]["label"][:] == [0, 1]
    # Where the names are numbers themselves, a number means a name.
    task = custom(write(tmp_path / "b.csv", [("t", "o", 1), ("t", "o", 2)]), labels=["1", "2"])
    assert task.own_source.load(task)["train"]["label"][:] == [0, 1]
    with pytest.raises(DataError, match="line 2: label '0'.*allowed are '1', '2'"):
        task = custom(path, labels=["1", "2"])
        task.own_source.load(task)


def test_validation_labels_must_be_known_from_training(tmp_path):
    task = custom(write(tmp_path / "a.csv"), validation=str(write(tmp_path / "b.csv", [("t", "o", "maybe")])))
    with pytest.raises(DataError, match="b.csv, line 2: label 'maybe'"):
        task.own_source.load(task)


def test_a_test_file_may_lack_labels_the_others_may_not(tmp_path):
    bare = str(write(tmp_path / "b.csv", [("t", "o")], NAMES[:2]))
    task = custom(write(tmp_path / "a.csv"), test=bare)
    assert task.own_source.load(task)["test"].column_names == ["id", "text_a"]
    task = custom(write(tmp_path / "a.csv"), validation=bare)
    with pytest.raises(DataError, match="no column 'label' .the label.. Its columns are: 'sentence', 'other'"):
        task.own_source.load(task)


def test_regression(tmp_path, tiny_tokenizer):
    task = custom(write(tmp_path / "a.csv", [("a", "o", 1.5), ("b", "o", -2)]), kind="regression")
    assert (task.outputs, task.metric, task.labels) == (1, "spearman", ())
    split = task.encode(task.own_source.load(task)["train"], tiny_tokenizer, training=True)
    assert split.labels.dtype == np.float32 and split.labels.tolist() == [1.5, -2.0]
    records = task.predict([np.array([[3.0], [1.0]])], split)
    assert task.score(records, split) == {"spearman": pytest.approx(1.0), "pearson": pytest.approx(1.0)}
    wrong = custom(write(tmp_path / "b.csv", [("a", "o", "inf")]), kind="regression")
    with pytest.raises(DataError, match="line 2: label 'inf'.*finite number"):
        wrong.own_source.load(wrong)


def test_classification_scores_all_its_metrics(tmp_path, tiny_tokenizer):
    task = custom(write(tmp_path / "a.csv"), metric="f1")
    split = task.encode(task.own_source.load(task)["train"], tiny_tokenizer, training=True)
    scores = task.score(task.predict([np.eye(2)[[1, 0, 1]]], split), split)
    assert scores == {name: 1.0 for name in task.metrics} and set(scores) == {"accuracy", "f1", "macro_f1", "matthews"}
    three = custom(tmp_path / "a.csv", labels=["pos", "neg", "unsure"])
    assert "f1" not in three.metrics


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"text": []}, r"task\.text=\[sentence\]"),
        ({"text": ["a", "b", "c"]}, "one or two text columns"),
        ({"text": ["label"]}, "also named as a text"),
        ({"kind": "span"}, "choose classification or regression"),
        ({"metric": "spearman"}, "measured by accuracy"),
        ({"labels": ["x"]}, "two or more different classes"),
        ({"train": None}, "task.train=my.csv"),
        ({"train": None, "test": "t.csv"}, r"task\.labels=\[negative,positive\]"),
        ({"kind": "regression", "labels": ["x", "y"]}, "belongs to classification"),
    ],
)
def test_wrong_settings_are_refused(tmp_path, fields, message):
    with pytest.raises(ConfigError, match=message):
        custom(write(tmp_path / "a.csv"), **fields)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "sentence,label\na,b,1\n", "line 2: 3 fields where 2 are expected.*double quotes"),
        ("a.csv", 'sentence,label\n"two\nlines",1\n"open,0\n', "line [45]: not valid CSV"),
        ("a.csv", "sentence,sentence,label\na,b,1\n", "more than one column named 'sentence'"),
        ("a.csv", "sentence,label\na,1\nb,\n", "line 3: no label in column 'label'"),
        ("a.csv", "sentence,label\na,1\nb,1\n", "holds the one value '1'"),
        ("a.jsonl", '{"sentence": "a", "label": 1}\n{oops}\n', "line 2: not valid JSON"),
        ("a.jsonl", "[1, 2]\n", "line 1: expected one JSON object a line"),
        ("a.parquet", "no parquet", "not a parquet file"),
        ("a.xlsx", "x", "cannot tell the format.*parquet"),
        ("a.csv", None, "does not exist"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        custom(tmp_path / name)


def test_lines_are_counted_in_the_file_not_in_rows(tmp_path):
    (tmp_path / "a.csv").write_text('sentence,label\n"two\nlines",1\nb,0\n')
    (tmp_path / "b.csv").write_text('sentence,label\n"two\nlines",1\nb,7\n')
    task = custom(tmp_path / "a.csv", validation=str(tmp_path / "b.csv"))
    with pytest.raises(DataError, match="b.csv, line 4: label '7'"):
        task.own_source.load(task)


def test_a_text_that_is_missing_is_named(tmp_path):
    path = write(tmp_path / "a.jsonl", [("a", "o", 1), (None, "o", 0)])
    task = custom(path)
    with pytest.raises(DataError, match="line 2: the text 'sentence' holds nothing"):
        task.own_source.load(task)


def test_a_group_is_drawn_whole_and_follows_its_rows(tmp_path):
    rows = [(f"row {i}", f"q{i // 3}", "pos" if i % 2 else "neg") for i in range(30)]
    task = custom(write(tmp_path / "a.csv", rows), group="other")
    raw = task.own_source.load(task)["train"]
    assert raw["group"] == [f"q{i // 3}" for i in range(30)]
    part = subset(raw, 10)
    assert len(part) == 12 and sorted(part["id"]) == part["id"]
    assert all(part["group"].count(name) == 3 for name in set(part["group"]))
    assert subset(raw, 30) is raw
    split = task.encode(part, tiny_tokenizer(), training=False)
    assert len(split.facts["group"]) == 12 and (np.diff(np.sort(split.facts["group"])) <= 1).all()
    records = task.predict([np.zeros((12, 2))], split)
    assert [record["group"] for record in records] == part["group"]
    without = custom(tmp_path / "a.csv")
    assert without.encode(raw, tiny_tokenizer(), training=False).facts.keys() == {"group"}
    assert "group" not in without.own_source.load(without)["train"].column_names


def test_a_group_that_is_no_column_is_named(tmp_path):
    task = custom(write(tmp_path / "a.csv"), group="patient")
    with pytest.raises(DataError, match="patient"):
        task.own_source.load(task)


def test_a_task_without_groups_is_the_task_it_was(tmp_path):
    from plmc.config.identity import plain

    assert "group" not in plain(custom(write(tmp_path / "a.csv"))) and "group" in plain(
        custom(tmp_path / "a.csv", group="other")
    )
