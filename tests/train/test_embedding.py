"""The row gradient of the word embedding equals torch's own."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from plmc.core.method import Method
from plmc.methods.distill.task_loss import TaskLoss
from plmc.methods.sharpness.sam import SAM
from plmc.testing.stage import bert, equal, rig
from plmc.training import trainer as loop
from plmc.training.embedding import RowGradient, row_gradients, word_embedding


def test_sums_over_repeated_rows_and_batches_without_the_padding():
    torch.manual_seed(0)
    table = nn.Embedding(50, 8, padding_idx=0)
    twin = nn.Embedding(50, 8, padding_idx=0, _weight=table.weight.detach().clone())
    rows = RowGradient(table)
    for _ in range(3):  # the buffer is used again: what an earlier batch left must be gone
        rows.zero()
        twin.zero_grad()
        for _ in range(2):
            ids = torch.randint(0, 9, (4, 7)) * torch.randint(1, 6, (1,))
            ids[:, -2:] = 0
            loss = torch.randn(4, 7, 8)
            (rows.forward(ids) * loss).sum().backward()
            (twin(ids) * loss).sum().backward()
        torch.testing.assert_close(table.weight.grad, twin.weight.grad, rtol=1e-6, atol=1e-6)
        assert not table.weight.grad[0].any()
    rows.zero()
    assert table.weight.grad is None


def test_no_graph_where_none_is_wanted():
    table = nn.Embedding(5, 2)
    with torch.no_grad():
        assert not RowGradient(table).forward(torch.tensor([1])).requires_grad
    table.weight.requires_grad_(False)
    assert not RowGradient(table).forward(torch.tensor([1])).requires_grad


@pytest.mark.parametrize("methods", [{"task": TaskLoss}, {"task": TaskLoss, "sam": SAM}], ids=["plain", "sam"])
def test_training_is_the_same(tmp_path, methods, monkeypatch):
    def train(folder):
        return rig({k: m() for k, m in methods.items()}, tmp_path / folder, model=bert(), steps=6).fit()

    quick = train("rows")
    taken = []
    monkeypatch.setattr(loop, "row_gradients", lambda model, on: taken.append(on) or row_gradients(model, False))
    dense = train("dense")
    assert taken == [True]
    for step, logged in dense.logs.items():
        for key, value in logged.items():
            assert quick.logs[step][key] == pytest.approx(value, rel=1e-4, abs=1e-6), (step, key)


@dataclass
class Pull(Method):
    """Writes into the gradient of every row, also of words that the batch does not have."""

    needs = frozenset({"dense_gradient"})

    def gradient(self, compute, params):
        loss = compute()
        for param in params:
            if param.grad is not None:
                param.grad.add_(0.1)
        return loss


def test_a_method_that_writes_into_every_row_gets_all_of_them_zeroed(tmp_path, monkeypatch):
    def train(folder, cls=Pull):
        return rig({"task": TaskLoss(), "pull": cls()}, tmp_path / folder, model=bert(), steps=4).fit().weights

    declared = train("declared")

    @dataclass
    class Silent(Pull):
        needs = frozenset()

    # Without the need, what was written into unused rows is left there, and adds up.
    assert not equal(train("silent", Silent), declared)
    monkeypatch.setattr(loop, "row_gradients", lambda model, on: row_gradients(model, False))
    assert equal(train("dense"), declared)


def test_only_a_plain_untied_table_on_the_cpu():
    from transformers import BertConfig, BertForMaskedLM

    model = bert()
    assert word_embedding(model) is model.bert.embeddings.word_embeddings
    with row_gradients(model) as rows:
        assert rows is not None and "forward" in vars(rows.module)
    assert "forward" not in vars(rows.module)
    tied = BertForMaskedLM(BertConfig(vocab_size=40, hidden_size=8, num_hidden_layers=1, num_attention_heads=2))
    assert word_embedding(tied) is None
    model.bert.embeddings.word_embeddings.weight.requires_grad_(False)
    assert word_embedding(model) is None
    with row_gradients(model) as rows:
        assert rows is None and "forward" not in vars(model.bert.embeddings.word_embeddings)
