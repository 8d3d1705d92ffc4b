"""Scores by class and confusions, against hand counts."""

import json
from types import SimpleNamespace

import numpy as np

from plmc.report.classes import by_class, classes


def test_by_class_counts_what_was_taken_for_what():
    true, said = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 1, 0])
    heads, rows = by_class(["a", "b", "c"], true, said)
    assert heads == ["true class", "rows", "precision", "recall", "F1", "said a", "said b", "said c"]
    assert rows[0] == ["a", "3", "66.7", "66.7", "66.7", "2", "1", "0"]
    assert rows[1] == ["b", "2", "66.7", "100.0", "80.0", "0", "2", "0"]
    assert rows[2] == ["c", "1", "0.0", "0.0", "0.0", "1", "0", "0"]


def arm(folder, records):
    run = SimpleNamespace(folder=folder, record=SimpleNamespace(seed=3), predictions=lambda: records)
    return SimpleNamespace(first=run)


def test_names_come_from_the_model_and_are_text(tmp_path):
    records = [{"id": 0, "prediction": "x", "prediction_id": 1, "logits": [0.0, 1.0], "label": 0}]
    made = arm(tmp_path, records)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps({"id2label": {"0": "<b>no</b>", "1": "yes"}}))
    page = "\n".join(classes([made], ["kd"]))
    assert "kd, seed 3: 1 row, 0.00 % right" in page
    assert "&lt;b&gt;no&lt;/b&gt;" in page and "<b>no" not in page


def test_tasks_without_classes_have_no_such_part(tmp_path):
    assert classes([arm(tmp_path, [{"id": 0, "prediction": 1.5, "label": 1.0}])], ["kd"]) == []
