"""GLUE tasks: what they fix, how they tokenise, predict and score."""

from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
import yaml
from hydra.utils import instantiate

from plmc.data.glue import GLUE
from plmc.errors import ConfigError, DataError, TrainingError
from plmc.tasks.glue import Glue, GlueRegression

CONF = Path(__file__).resolve().parents[2] / "conf" / "task"


def rows(label=None, pair=False, n=4):
    columns = {"id": np.arange(10, 10 + n), "text_a": [f"the cat sat {i}" for i in range(n)]}
    if pair:
        columns["text_b"] = [f"a dog runs and runs {i}" for i in range(n)]
    if label is not None:
        columns["label"] = label
    return datasets.Dataset.from_dict(columns)


@pytest.mark.parametrize("name", GLUE)
def test_every_task_has_a_config_that_builds_it(name):
    task = instantiate(yaml.safe_load((CONF / f"{name}.yaml").read_text()), _convert_="all")
    assert task.name == name
    assert task.outputs == (1 if name == "stsb" else len(GLUE[name].labels))
    assert len(task.text) == len(GLUE[name].columns)


def test_what_glue_fixes_cannot_be_changed():
    with pytest.raises(ConfigError, match="not a task of GLUE"):
        Glue(name="sst-2")
    with pytest.raises(ConfigError, match="remove task.labels"):
        Glue(name="sst2", labels=("positive", "negative"))
    with pytest.raises(ConfigError, match="f1 and accuracy"):
        Glue(name="mrpc", metric="matthews")
    with pytest.raises(ConfigError, match="GlueRegression"):
        Glue(name="stsb")
    with pytest.raises(ConfigError, match="tasks.glue.Glue,"):
        GlueRegression(name="sst2")


def test_replace_keeps_the_task():
    task = replace(Glue(name="mnli"), max_length=7)
    assert (task.max_length, task.labels, task.metric) == (7, GLUE["mnli"].labels, "accuracy")


def test_encode_equals_the_tokenizer_called_on_each_row(tiny_tokenizer):
    data = rows([0, 1, 0, 1], pair=True)
    split = Glue(name="rte", max_length=12).encode(data, tiny_tokenizer, training=True)
    assert split.labels.dtype == np.int64 and split.labels.tolist() == [0, 1, 0, 1]
    assert split.ids.tolist() == [10, 11, 12, 13] and split.source.tolist() == [0, 1, 2, 3]
    for i, row in enumerate(data):
        expected = tiny_tokenizer(row["text_a"], row["text_b"], truncation=True, max_length=12)
        for name in ("input_ids", "token_type_ids"):
            assert split.columns[name][i].tolist() == expected[name]
    assert split.lengths.max() <= 12


def test_token_types_are_stored_only_where_the_model_reads_them(tiny_tokenizer, monkeypatch):
    monkeypatch.setattr(tiny_tokenizer, "model_input_names", ["input_ids", "attention_mask"])
    assert set(Glue(name="sst2").encode(rows(), tiny_tokenizer, training=False).columns) == {"input_ids"}


def test_unlabelled_rows_predict_but_do_not_score(tiny_tokenizer):
    task = Glue(name="sst2")
    split = task.encode(rows(), tiny_tokenizer, training=False)
    assert split.labels is None
    records = task.predict([np.eye(2)[[0, 1, 1, 0]]], split)
    assert all("label" not in record for record in records)
    with pytest.raises(DataError, match="no labels"):
        task.score(records, split)


def test_records_of_a_classification_task(tiny_tokenizer):
    task = Glue(name="mrpc")
    split = task.encode(rows([0, 1, 1, 1], pair=True), tiny_tokenizer, training=False)
    records = task.predict([np.array([[2, 1], [0, 3], [1, 0], [-1, 0]], dtype=np.float32)], split)
    assert records[0] == {
        "id": 10,
        "prediction": "not_equivalent",
        "prediction_id": 0,
        "logits": [2.0, 1.0],
        "label": 0,
    }
    # 2 of 3 positives found, none made up.
    assert task.score(records, split) == {"accuracy": 0.75, "f1": pytest.approx(0.8)}


def test_records_of_a_regression_task(tiny_tokenizer):
    task = GlueRegression(name="stsb")
    split = task.encode(rows([0.0, 1.5, 2.5, 5.0], pair=True), tiny_tokenizer, training=False)
    assert split.labels.dtype == np.float32
    records = task.predict([np.array([[0.1], [0.2], [0.3], [0.4]])], split)
    assert records[1] == {"id": 11, "prediction": pytest.approx(0.2), "label": 1.5}
    assert task.score(records, split)["spearman"] == pytest.approx(1.0)


def test_records_come_in_raw_order_whatever_the_order_of_the_rows(tiny_tokenizer):
    task = Glue(name="sst2")
    split = task.encode(rows([0, 1, 0, 1]), tiny_tokenizer, training=False)
    logits = np.array([[4, 0], [0, 3], [2, 0], [0, 1]], dtype=np.float32)
    order = np.array([2, 0, 3, 1])
    columns = {name: type(column)(*_take(column, order)) for name, column in split.columns.items()}
    shuffled = replace(split, columns=columns, labels=split.labels[order], ids=split.ids[order], source=order)
    assert task.predict([logits[order]], shuffled) == task.predict([logits], split)


def _take(column, order):
    pieces = [column[i] for i in order]
    return np.concatenate(pieces), np.cumsum([0, *map(len, pieces)])


def test_a_diverged_model_is_not_scored(tiny_tokenizer):
    task = Glue(name="sst2")
    split = task.encode(rows([0, 1, 0, 1]), tiny_tokenizer, training=False)
    with pytest.raises(TrainingError, match="row 12"):
        task.predict([np.array([[0, 1], [0, 1], [np.nan, 1], [0, 1]])], split)


def test_lengths_that_cannot_work_are_refused(tiny_tokenizer):
    with pytest.raises(ConfigError, match="no room for text; use 5 or more"):
        Glue(name="rte", max_length=4).encode(rows([0] * 4, pair=True), tiny_tokenizer, training=True)
    with pytest.raises(ConfigError, match="task.max_length=512"):
        Glue(name="sst2", max_length=600).encode(rows([0] * 4), tiny_tokenizer, training=True)
