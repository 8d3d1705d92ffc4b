"""What every head must do, whatever its kind: a new kind of task is one file in `plmc/heads` and one row of `ROWS`."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import datasets
import numpy as np
import pytest
import torch
from kinds import HEADS
from scipy.stats import spearmanr
from transformers import BertConfig

from plmc.core.chain import Chain
from plmc.core.clock import Clock
from plmc.errors import ConfigError
from plmc.heads.find import task_head
from plmc.methods.distill.logit_kd import LogitKD
from plmc.methods.distill.task_loss import TaskLoss
from plmc.models import load
from plmc.tasks.base import Task
from plmc.tasks.glue import Glue, GlueRegression
from plmc.tasks.mlm import MaskedLM
from plmc.tasks.squad import Squad
from plmc.teachers.cache import Wanted, look_up, stored
from plmc.teachers.live import live
from plmc.training.batches import training_batches
from plmc.training.evaluate import evaluate, logits_of
from plmc.training.objective import Objective

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


def answers_of(text: str, word: str) -> dict[str, list]:
    return {"text": [word], "answer_start": [text.index(word)]}


CONTEXTS = [f"{text} in the city by the river and the house was great" for text in TEXTS]


@dataclass(frozen=True)
class Row:
    """A head with a task, raw rows, the formula of its loss from logits, and the official score of its records."""

    task: Task
    raw: dict[str, list]
    formula: Callable[..., float]
    official: Callable[[list[dict]], float]


ROWS = {
    "classification": Row(
        Glue(name="sst2", max_length=24),
        {"id": list(range(COUNT)), "text_a": TEXTS, "label": [0, 1, 1, 0, 1, 0]},
        lambda logits, batch: cross_entropy(logits[0], batch.labels.numpy()),
        lambda records: float(np.mean([r["prediction_id"] == r["label"] for r in records])),
    ),
    "regression": Row(
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
    "span": Row(
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
    "mlm": Row(
        MaskedLM(shortest=3, max_length=16, rate=0.4, pack=False),
        {"id": list(range(COUNT)), "text_a": TEXTS},
        token_formula,
        lambda records: sum(r["right"] for r in records) / sum(r["guessed"] for r in records),
    ),
}
EVERY = pytest.mark.parametrize("kind", ROWS)


def bag_f1(said: str, gold: str) -> float:
    """F1 of two bags of words as SQuAD's official script has it, for texts without articles and punctuation."""
    drop = {"the", "a", "an"}
    one, two = ([w for w in text.replace(".", "").split() if w not in drop] for text in (said, gold))
    common = sum(min(one.count(word), two.count(word)) for word in set(one))
    return 2 * common / (len(one) + len(two)) if common else 0.0


def model_of(kind: str, tokenizer, seed: int = 0):
    task = ROWS[kind].task
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=64,
        initializer_range=0.3,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return load.from_config(config, task, seed=seed).eval()


def split_of(kind: str, tokenizer, *, training: bool = False):
    return ROWS[kind].task.encode(datasets.Dataset.from_dict(ROWS[kind].raw), tokenizer, training=training)


def update(split, size: int | None):
    """The micro-batches of the first update over all rows."""
    options = {"batch_size": len(split), "micro_batch": size, "pad_id": 0, "seed": 1, "stage": 0, "start": 0}
    return next(training_batches(split, **options))


def objective(kind, student, method, teacher=None):
    chain = Chain({"method": method})
    source = live(teacher, chain.required(), HEADS[kind]) if teacher is not None else None
    return Objective(student, chain, torch.nn.ModuleDict(), head=HEADS[kind], teacher=source)


def test_the_table_has_every_head():
    assert ROWS.keys() == HEADS.keys() and all(row.task.head.kind == kind for kind, row in ROWS.items())


@EVERY
def test_the_gold_loss_is_the_formula(kind, tiny_tokenizer):
    model = model_of(kind, tiny_tokenizer)
    (batch,) = update(split_of(kind, tiny_tokenizer, training=True), None)
    loss, terms = objective(kind, model, TaskLoss())(batch, Clock(0, 8, 1))
    with torch.no_grad():
        logits = [part.numpy() for part in HEADS[kind].ask(model, batch).logits]
    assert len(logits) == HEADS[kind].parts
    assert loss.item() == terms["method/ce" if "method/ce" in terms else "ce"].item()
    assert loss.item() == pytest.approx(ROWS[kind].formula(logits, batch), rel=1e-5)


@EVERY
@pytest.mark.parametrize("method", [TaskLoss, lambda: LogitKD(temperature=3.0)])
def test_micro_batches_add_up_to_the_large_batch(kind, method, tiny_tokenizer):
    split, found = split_of(kind, tiny_tokenizer, training=True), []
    for size in (None, 1, 4):
        model = model_of(kind, tiny_tokenizer)
        whole = objective(kind, model, method(), model_of(kind, tiny_tokenizer, 7))
        for batch in update(split, size):
            loss, _ = whole(batch, Clock(0, 8, 1))
            (loss * (len(batch.rows) / len(split))).backward()
        found.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    for other in found[1:]:
        assert float((found[0] - other).norm() / found[0].norm()) < 1e-5


@EVERY
def test_equals_do_not_diverge_and_others_do(kind, tiny_tokenizer):
    (batch,) = update(split_of(kind, tiny_tokenizer, training=True), None)
    one, two = model_of(kind, tiny_tokenizer), model_of(kind, tiny_tokenizer, 7)
    for teacher, equal in ((copy.deepcopy(one), True), (two, False)):
        loss, _ = objective(kind, one, LogitKD(alpha=0.0, temperature=2.0), teacher)(batch, Clock(0, 8, 1))
        assert abs(loss.item()) < 1e-6 if equal else loss.item() > 1e-3


@EVERY
def test_a_stored_teacher_says_what_a_live_one_says(kind, tiny_tokenizer, tmp_path):
    head = HEADS[kind]
    if head.over_vocabulary:
        pytest.skip("logits over a vocabulary are too many to be stored; the teacher always runs along")
    model, split = model_of(kind, tiny_tokenizer), split_of(kind, tiny_tokenizer, training=True)
    wanted = Wanted(head, layers=(1,))
    columns = stored(model, split, wanted, identity="t", pad_id=0, cache=tmp_path)
    found = look_up(columns, split, wanted, layers=2)
    running = live(model, frozenset({"teacher.logits", "teacher.hidden_states"}), head)
    for batch in update(split, 4):
        mask = batch.inputs["attention_mask"].bool()
        for left, right in zip(found(batch).logits, running(batch).logits, strict=True):
            shown = (left[mask], right[mask]) if head.per_token else (left, right)
            torch.testing.assert_close(*shown, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(
            found(batch).hidden_states[1][mask], running(batch).hidden_states[1][mask], atol=1e-5, rtol=1e-5
        )


@EVERY
def test_scores_are_the_official_ones(kind, tiny_tokenizer):
    row = ROWS[kind]
    scores, records = evaluate(model_of(kind, tiny_tokenizer), split_of(kind, tiny_tokenizer), row.task, pad_id=0)
    assert scores[row.task.metric] == pytest.approx(row.official(records), abs=1e-9)
    assert scores.keys() == set(row.task.metrics)


@EVERY
def test_answers_to_texts_are_those_that_are_judged(kind, tiny_tokenizer):
    row, head, model = ROWS[kind], HEADS[kind], model_of(kind, tiny_tokenizer)
    texts = list(zip(*(row.raw[name] for name in row.task.text), strict=True))
    if not head.supervised:
        with pytest.raises(ConfigError, match="guesses hidden tokens"):
            head.answers(model, tiny_tokenizer, texts, 24)
        return
    records = row.task.predict(
        logits_of(model, split_of(kind, tiny_tokenizer), head, pad_id=0), split_of(kind, tiny_tokenizer)
    )
    answers = head.answers(model, tiny_tokenizer, texts, row.task.max_length)
    for record, answer, given in zip(records, answers, texts, strict=True):
        assert answer["texts"] == list(given)
        said = answer.get("label", answer.get("answer", answer["score"]))
        right = record["prediction"]
        assert said == (pytest.approx(right, abs=1e-5) if isinstance(right, float) else right)


@EVERY
def test_logits_of_a_split_do_not_depend_on_the_order_of_its_batches(kind, tiny_tokenizer, monkeypatch):
    model, split, head = model_of(kind, tiny_tokenizer), split_of(kind, tiny_tokenizer), HEADS[kind]
    together = logits_of(model, split, head, pad_id=0)
    monkeypatch.setattr("plmc.core.rows.TOKENS", 1)
    for one, two in zip(together, logits_of(model, split, head, pad_id=0), strict=True):
        assert len(one) == len(split)
        np.testing.assert_allclose(one, two, atol=1e-5)


@EVERY
def test_a_saved_model_is_read_back_with_its_head(kind, tiny_tokenizer, tmp_path):
    row, head, model = ROWS[kind], HEADS[kind], model_of(kind, tiny_tokenizer)
    model.save_pretrained(tmp_path)
    again = load.load_finetuned(str(tmp_path), row.task)
    assert type(again) is type(model) and not again.training
    split = split_of(kind, tiny_tokenizer)
    for one, two in zip(logits_of(model, split, head, pad_id=0), logits_of(again, split, head, pad_id=0), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    assert any(head.suffix in name for name in again.config.architectures)
    if head.supervised:
        assert task_head(again.config).kind == kind


@EVERY
def test_an_example_fits_the_columns(kind):
    row, head = ROWS[kind], HEADS[kind]
    if head.mlflow_pipeline is None:
        return
    inputs, outputs = head.columns(len(row.task.text) == 2)
    example = head.example([row.raw[name][0] for name in row.task.text])
    assert inputs == (list(example) if isinstance(example, dict) else [None])
    assert [kind for _, kind in outputs] == ["string", "double"]


def test_perplexity_of_a_model_that_knows_nothing_is_the_size_of_the_vocabulary(tiny_tokenizer):
    model = model_of("mlm", tiny_tokenizer)
    with torch.no_grad():
        for parameter in model.cls.parameters():
            parameter.zero_()
        model.bert.embeddings.word_embeddings.weight.zero_()
    scores, _ = evaluate(model, split_of("mlm", tiny_tokenizer), ROWS["mlm"].task, pad_id=0)
    assert scores["perplexity"] == pytest.approx(len(tiny_tokenizer), rel=1e-4)
    assert scores["loss"] == pytest.approx(math.log(len(tiny_tokenizer)), rel=1e-5)
