"""Real GLUE and SQuAD files, where there are any: they load whole, tokenise, predict and score."""

import numpy as np
import pytest

from plmc.data.glue import GLUE
from plmc.data.glue_files import LAYOUTS
from plmc.data.local import Local
from plmc.tasks.glue import Glue, GlueRegression
from plmc.tasks.squad import Squad

# Rows of the official splits; training files may be subsets.
VALIDATION = {"sst2": 872, "mrpc": 408, "stsb": 1500, "mnli": 9815, "qnli": 5463, "rte": 277, "wnli": 71}


def rows_of(shared_data, task):
    folder = shared_data / ("squad" if task.head.kind == "span" else f"glue/{LAYOUTS[task.name].folder}")
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    return Local(root=str(shared_data)).load(task)


@pytest.mark.parametrize("name", GLUE)
def test_glue(shared_data, tiny_tokenizer, name):
    task = (GlueRegression if name == "stsb" else Glue)(name=name, max_length=64)
    splits = rows_of(shared_data, task)
    assert len(splits["validation"]) == VALIDATION.get(name, len(splits["validation"]))
    rows = splits["validation"].select(range(min(200, len(splits["validation"]))))
    split = task.encode(rows, tiny_tokenizer, training=False)
    assert len(split) == len(rows) and split.lengths.max() <= 64
    # Logits that know the labels score 1 in every metric.
    right = split.labels[:, None] if name == "stsb" else np.eye(task.outputs)[split.labels]
    assert task.score(task.predict([right], split), split) == {m: pytest.approx(1.0) for m in task.metrics}
    if "train" in splits:
        labels = np.array(splits["train"]["label"][:])
        assert labels.min() == 0 and labels.max() == (5 if name == "stsb" else task.outputs - 1)


@pytest.mark.parametrize("version", ["1.1", "2.0"])
def test_squad(shared_data, tiny_tokenizer, version):
    task = Squad(name="squad", version=version)
    for split_name, rows in rows_of(shared_data, task).items():
        answers = [row["text"] for row in rows["answers"][:]]
        records = []
        for golds in answers:
            text = golds[0] if golds else ""
            null = -5.0 if golds else 5.0
            record = {"prediction": text, "answer": text or "x", "label": golds}
            records.append(record | {"score": 1.0, "null_score": null})
        scores = task.score(records, None)
        assert scores["exact_match"] == scores["f1"] == 1.0
        assert len(rows) > 0 and (version == "2.0") == (not all(answers)), split_name


def test_squad_answers_survive_the_way_through_tokens(shared_data, tiny_tokenizer):
    task = Squad(name="squad", max_answer_length=400)  # this tokenizer splits words into letters
    rows = rows_of(shared_data, task)["validation"].select(range(60))
    split = task.encode(rows, tiny_tokenizer, training=False)
    heads = []
    for side in (0, 1):
        logits = np.zeros((len(split), split.lengths.max()), dtype=np.float32)
        logits[np.arange(len(split)), split.labels[:, side]] = 10.0
        heads.append(logits)
    records = task.predict(heads, split)
    scores = task.score(records, split)
    # Every first answer that fits into a feature is found again; the features are short in letters.
    fits = {int(source) for source, label in zip(split.source, split.labels, strict=True) if label[0] > 0}
    found = [record["prediction"] == record["label"][0] for i, record in enumerate(records) if i in fits]
    assert len(fits) > 50 and np.mean(found) > 0.95 and scores["f1"] > 0.8
