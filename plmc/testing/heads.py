"""What every head must do, as a class of pytest tests; needs pytest.

from plmc.testing import HeadRow, HeadSuite

class TestMine(HeadSuite):
    rows = (HeadRow(task, raw, formula, official),)
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from transformers import BertConfig

from plmc.core.batch import Batch
from plmc.core.chain import Chain
from plmc.core.clock import Clock
from plmc.core.method import Method
from plmc.core.rows import Split
from plmc.errors import ConfigError
from plmc.methods.distill.logit_kd import LogitKD
from plmc.methods.distill.task_loss import TaskLoss
from plmc.models import load
from plmc.tasks.base import Task
from plmc.teachers.cache import Wanted, look_up, stored
from plmc.teachers.live import Live
from plmc.testing.stage import tiny_tokenizer
from plmc.training.batches import collate, training_batches
from plmc.training.evaluate import evaluate, judgement, logits_of
from plmc.training.objective import Objective


@dataclass(frozen=True)
class HeadRow:
    """A head, by a task that has it.

    Attributes:
        task: short rows suffice: `max_length` of 16 to 32 tokens.
        raw: columns of six or so raw rows; the texts are words of `plmc.testing.stage.WORDS`.
        formula: the gold loss from the logits (arrays) and the batch, written apart from the head's own code.
        official: the task's metric from the records that `predict` made.
    """

    task: Task
    raw: Mapping[str, Any]
    formula: Callable[[Sequence[np.ndarray], Batch], float]
    official: Callable[[list[dict[str, Any]]], float]


def model_of(row: HeadRow, tokenizer: Any, seed: int = 0) -> Any:
    """A random BERT of two layers with the head of the row's task."""
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
    return load.from_config(config, row.task, seed=seed).eval()


def split_of(row: HeadRow, tokenizer: Any, *, training: bool = False) -> Split:
    """The row's raw rows, tokenised."""
    import datasets

    return row.task.encode(datasets.Dataset.from_dict(dict(row.raw)), tokenizer, training=training)


def update(split: Split, size: int | None) -> list[Batch]:
    """The micro-batches of the first update over all rows."""
    return next(
        training_batches(split, batch_size=len(split), micro_batch=size, pad_id=0, seed=1, stage=0, start=0)
    ).parts


def objective(row: HeadRow, student: Any, method: Method, teacher: Any = None) -> Objective:
    chain = Chain({"method": method})
    source = Live(teacher, chain.required(), row.task.head) if teacher is not None else None
    return Objective(
        student, chain, torch.nn.ModuleDict(), head=row.task.head, teachers={"teacher": source} if source else None
    )


class HeadSuite:
    """The tests; a subclass names its `rows`."""

    rows: ClassVar[Sequence[HeadRow]] = ()

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "row" in metafunc.fixturenames:
            metafunc.parametrize("row", self.rows, ids=lambda row: row.task.head.kind)

    @pytest.fixture(scope="class")
    def tokenizer(self) -> Any:
        return tiny_tokenizer()

    def test_the_gold_loss_is_the_formula(self, row, tokenizer):
        model = model_of(row, tokenizer)
        (batch,) = update(split_of(row, tokenizer, training=True), None)
        loss, terms = objective(row, model, TaskLoss())(batch, Clock(0, 8, 1))
        with torch.no_grad():
            logits = [part.numpy() for part in row.task.head.ask(model, batch).logits]
        assert len(logits) == row.task.head.parts
        assert loss.item() == terms["method/ce" if "method/ce" in terms else "ce"].item()
        assert loss.item() == pytest.approx(row.formula(logits, batch), rel=1e-5)

    def test_the_loss_of_a_split_is_the_mean_of_its_rows(self, row, tokenizer):
        model, split = model_of(row, tokenizer).eval(), split_of(row, tokenizer)
        judged = judgement(model, split, row.task, pad_id=0)
        with torch.no_grad():
            loss, _ = objective(row, model, TaskLoss())(collate(split, np.arange(len(split)), 0), Clock(0, 8, 1))
        assert judged.pop("loss") == pytest.approx(loss.item(), rel=1e-5)
        assert judged.keys() == set(row.task.metrics) - {"loss"}

    def test_each_row_has_the_loss_that_it_has_alone(self, row, tokenizer):
        if row.task.head.over_vocabulary:
            pytest.skip("a masked language model has a loss for each hidden token")
        model, split = model_of(row, tokenizer).eval(), split_of(row, tokenizer, training=True)
        whole = objective(row, model, LogitKD(temperature=3.0), model_of(row, tokenizer, 7))
        with torch.no_grad():
            (batch,) = update(split, None)
            together = whole.examples(batch, Clock(0, 8, 1))
            alone = [whole.examples(part, Clock(0, 8, 1)) for part in update(split, 1)]
        assert together.shape == (len(split),)
        torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("method", [TaskLoss, lambda: LogitKD(temperature=3.0)])
    def test_micro_batches_add_up_to_the_large_batch(self, row, method, tokenizer):
        split, found = split_of(row, tokenizer, training=True), []
        for size in (None, 1, 4):
            model = model_of(row, tokenizer)
            whole = objective(row, model, method(), model_of(row, tokenizer, 7))
            for batch in update(split, size):
                loss, _ = whole(batch, Clock(0, 8, 1))
                (loss * (len(batch.rows) / len(split))).backward()
            found.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
        for other in found[1:]:
            assert float((found[0] - other).norm() / found[0].norm()) < 1e-5

    def test_equals_do_not_diverge_and_others_do(self, row, tokenizer):
        (batch,) = update(split_of(row, tokenizer, training=True), None)
        one, two = model_of(row, tokenizer), model_of(row, tokenizer, 7)
        for teacher, equal in ((copy.deepcopy(one), True), (two, False)):
            loss, _ = objective(row, one, LogitKD(alpha=0.0, temperature=2.0), teacher)(batch, Clock(0, 8, 1))
            assert abs(loss.item()) < 1e-6 if equal else loss.item() > 1e-3

    def test_a_stored_teacher_says_what_a_live_one_says(self, row, tokenizer, tmp_path):
        head = row.task.head
        if head.over_vocabulary:
            pytest.skip("logits over a vocabulary are too many to be stored; the teacher always runs along")
        model, split = model_of(row, tokenizer), split_of(row, tokenizer, training=True)
        wanted = Wanted(head, layers=(1,))
        columns = stored(model, split, wanted, identity="t", pad_id=0, cache=tmp_path)
        found = look_up(columns, split, wanted, layers=2)
        running = Live(model, frozenset({"teacher.logits", "teacher.hidden_states"}), head)
        for batch in update(split, 4):
            mask = batch.inputs["attention_mask"].bool()
            for left, right in zip(found(batch).logits, running(batch).logits, strict=True):
                shown = (left[mask], right[mask]) if head.per_token else (left, right)
                torch.testing.assert_close(*shown, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(
                found(batch).hidden_states[1][mask], running(batch).hidden_states[1][mask], atol=1e-5, rtol=1e-5
            )

    def test_scores_are_the_official_ones(self, row, tokenizer):
        scores, records = evaluate(model_of(row, tokenizer), split_of(row, tokenizer), row.task, pad_id=0)
        assert scores[row.task.metric] == pytest.approx(row.official(records), abs=1e-9)
        assert scores.keys() == set(row.task.metrics)

    def test_answers_to_texts_are_those_that_are_judged(self, row, tokenizer):
        head, model = row.task.head, model_of(row, tokenizer)
        texts = list(zip(*(row.raw[name] for name in row.task.text), strict=True))
        if not head.supervised:
            with pytest.raises(ConfigError, match="guesses hidden tokens"):
                head.answers(model, tokenizer, texts, 24)
            return
        records = row.task.predict(logits_of(model, split_of(row, tokenizer), head, pad_id=0), split_of(row, tokenizer))
        answers = head.answers(model, tokenizer, texts, row.task.max_length)
        for record, answer, given in zip(records, answers, texts, strict=True):
            assert answer["texts"] == list(given)
            said = next(answer[key] for key in ("label", "answer", "score") if key in answer)
            right = record["prediction"]
            assert said == (pytest.approx(right, abs=1e-5) if isinstance(right, float) else right)

    def test_logits_of_a_split_do_not_depend_on_the_order_of_its_batches(self, row, tokenizer, monkeypatch):
        model, split, head = model_of(row, tokenizer), split_of(row, tokenizer), row.task.head
        together = logits_of(model, split, head, pad_id=0)
        monkeypatch.setattr("plmc.core.rows.TOKENS", 1)
        for one, two in zip(together, logits_of(model, split, head, pad_id=0), strict=True):
            assert len(one) == len(split)
            np.testing.assert_allclose(one, two, atol=1e-5)

    def test_a_saved_model_is_read_back_with_its_head(self, row, tokenizer, tmp_path):
        head, model = row.task.head, model_of(row, tokenizer)
        model.save_pretrained(tmp_path)
        again = load.load_finetuned(str(tmp_path), row.task)
        assert type(again) is type(model) and not again.training
        split = split_of(row, tokenizer)
        for one, two in zip(
            logits_of(model, split, head, pad_id=0), logits_of(again, split, head, pad_id=0), strict=True
        ):
            np.testing.assert_allclose(one, two, atol=1e-6)
        assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
        assert any(head.suffix in name for name in again.config.architectures)

    def test_an_example_fits_the_columns(self, row):
        head = row.task.head
        if head.mlflow_pipeline is None:
            return
        inputs, outputs = head.columns(len(row.task.text) == 2)
        example = head.example([row.raw[name][0] for name in row.task.text])
        assert inputs == (list(example) if isinstance(example, dict) else [None])
        assert [kind for _, kind in outputs] == ["string", "double"]
