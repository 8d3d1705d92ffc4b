"""The heads of plmc: a new kind of task is one file in `plmc/heads` and one row of `ROWS`."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from plmc.heads.find import task_head
from plmc.models.load import load_config
from plmc.tasks.glue import Glue, GlueRegression
from plmc.tasks.mlm import MaskedLM
from plmc.tasks.squad import Squad
from plmc.testing import HeadRow, HeadSuite
from plmc.testing.heads import model_of, split_of
from plmc.testing.stage import HEADS, tiny_tokenizer
from plmc.training.evaluate import evaluate

TEXTS = [
    "the cat sat on the mat",
    "a dog runs",
    "he is good",
    "she was bad and dull",
    "what a film",
    "it is not fine .",
]
COUNT = len(TEXTS)


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """-log softmax(logits)[label], mean over rows, in float64."""
    wide = logits.astype(np.float64)
    norms = np.log(np.exp(wide - wide.max(1, keepdims=True)).sum(1)) + wide.max(1)
    return float(np.mean(norms - wide[np.arange(len(labels)), labels]))


def span_formula(logits, batch) -> float:
    mask = batch.inputs["attention_mask"].numpy().astype(bool)
    closed = [np.where(mask, part, -1e30) for part in logits]
    return sum(cross_entropy(part, batch.labels.numpy()[:, i]) for i, part in enumerate(closed)) / 2


def token_formula(logits, batch) -> float:
    labels = batch.labels.numpy()
    return cross_entropy(logits[0], labels[labels >= 0])


def bag_f1(said: str, gold: str) -> float:
    """F1 of two bags of words as SQuAD's official script has it, for texts without articles and punctuation."""
    drop = {"the", "a", "an"}
    one, two = ([w for w in text.replace(".", "").split() if w not in drop] for text in (said, gold))
    common = sum(min(one.count(word), two.count(word)) for word in set(one))
    return 2 * common / (len(one) + len(two)) if common else 0.0


def answers_of(text: str, word: str) -> dict[str, list]:
    return {"text": [word], "answer_start": [text.index(word)]}


CONTEXTS = [f"{text} in the city by the river and the house was great" for text in TEXTS]


ROWS = {
    "classification": HeadRow(
        Glue(name="sst2", max_length=24),
        {"id": list(range(COUNT)), "text_a": TEXTS, "label": [0, 1, 1, 0, 1, 0]},
        lambda logits, batch: cross_entropy(logits[0], batch.labels.numpy()),
        lambda records: float(np.mean([r["prediction_id"] == r["label"] for r in records])),
    ),
    "regression": HeadRow(
        GlueRegression(name="stsb", max_length=24),
        {
            "id": list(range(COUNT)),
            "text_a": TEXTS,
            "text_b": TEXTS[::-1],
            "label": np.array([0.0, 1.5, 2.0, 5.0, 3.0, 4.5], dtype=np.float32).tolist(),
        },
        lambda logits, batch: float(np.mean((logits[0][:, 0] - batch.labels.numpy()) ** 2)),
        lambda records: float(spearmanr([r["prediction"] for r in records], [r["label"] for r in records]).statistic),
    ),
    "span": HeadRow(
        Squad(name="squad", max_length=32, stride=8, max_question_length=8),
        {
            "id": list(range(COUNT)),
            "key": [f"q{i}" for i in range(COUNT)],
            "title": ["t"] * COUNT,
            "text_a": ["what is it ?"] * COUNT,
            "text_b": CONTEXTS,
            "answers": [answers_of(text, "river") for text in CONTEXTS],
        },
        span_formula,
        lambda records: float(np.mean([bag_f1(r["prediction"], r["label"][0]) for r in records])),
    ),
    "mlm": HeadRow(
        MaskedLM(shortest=3, max_length=16, rate=0.4, pack=False),
        {"id": list(range(COUNT)), "text_a": TEXTS},
        token_formula,
        lambda records: sum(r["right"] for r in records) / sum(r["guessed"] for r in records),
    ),
}


class TestHeads(HeadSuite):
    rows = tuple(ROWS.values())


def test_the_table_has_every_head():
    assert ROWS.keys() == HEADS.keys() and all(row.task.head.kind == kind for kind, row in ROWS.items())


@pytest.mark.parametrize("kind", [kind for kind, head in HEADS.items() if head.supervised])
def test_the_head_of_a_saved_model_is_read_from_its_config(kind, tmp_path):
    model_of(ROWS[kind], tiny_tokenizer()).save_pretrained(tmp_path)
    assert task_head(load_config(str(tmp_path))).kind == kind


def test_perplexity_of_a_model_that_knows_nothing_is_the_size_of_the_vocabulary(tiny_tokenizer):
    model = model_of(ROWS["mlm"], tiny_tokenizer)
    with torch.no_grad():
        for parameter in model.cls.parameters():
            parameter.zero_()
        model.bert.embeddings.word_embeddings.weight.zero_()
    scores, _ = evaluate(model, split_of(ROWS["mlm"], tiny_tokenizer), ROWS["mlm"].task, pad_id=0)
    assert scores["perplexity"] == pytest.approx(len(tiny_tokenizer), rel=1e-4)
    assert scores["loss"] == pytest.approx(math.log(len(tiny_tokenizer)), rel=1e-5)
