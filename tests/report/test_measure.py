"""Sizes, sparsity and latency of tiny random models."""

import math
import time

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
)

from plmc.core.rows import Ragged, Split
from plmc.errors import PlmcError
from plmc.measure import figures

SHAPE = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, vocab_size=50)


def bert(kind=BertForSequenceClassification):
    torch.manual_seed(0)
    return kind(BertConfig(**SHAPE, max_position_embeddings=32))


def distilbert():
    torch.manual_seed(0)
    config = DistilBertConfig(dim=16, n_layers=2, n_heads=2, hidden_dim=32, vocab_size=50)
    return DistilBertForSequenceClassification(config)


def blocks(model):
    return model.bert.encoder.layer if hasattr(model, "bert") else model.distilbert.transformer.layer


@pytest.mark.parametrize("make", [bert, distilbert])
def test_sparsity_counts_the_linear_layers_of_the_blocks_only(make):
    model = make()
    assert figures.sparsity(model) == 0.0
    with torch.no_grad():
        for parameter in model.base_model.embeddings.parameters():
            parameter.zero_()
        for parameter in model.classifier.parameters():
            parameter.zero_()
    assert figures.sparsity(model) == 0.0
    linears = [layer for layer in blocks(model).modules() if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        linears[0].weight.zero_()
    # A layer of 16 x 16 of four such and two of 16 x 32, two blocks.
    assert figures.sparsity(model) == pytest.approx(16 * 16 / (2 * (4 * 16 * 16 + 2 * 16 * 32)))
    with torch.no_grad():
        for layer in linears:
            layer.weight.zero_()
    assert figures.sparsity(model) == 1.0


def test_sparsity_without_blocks_is_an_error():
    with pytest.raises(PlmcError, match="no encoder blocks"):
        figures.sparsity(nn.Linear(2, 2))


def test_nonzero_and_total_differ_by_the_zeros():
    model = bert()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
        model.classifier.weight[0] = 0
    assert figures.parameters(model) - figures.nonzero_parameters(model) == 16


def test_tied_weights_count_once():
    model = bert(BertForMaskedLM)
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
    unique = {p.data_ptr(): p.numel() for p in model.parameters()}
    assert figures.parameters(model) == sum(unique.values())
    with torch.no_grad():
        before = figures.nonzero_parameters(model)
        lost = int(torch.count_nonzero(model.bert.embeddings.word_embeddings.weight))
        model.bert.embeddings.word_embeddings.weight.zero_()
    assert before - figures.nonzero_parameters(model) == lost


def test_size_is_that_of_the_weight_files(tmp_path):
    model = bert()
    model.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text("x" * 999)
    (tmp_path / "training_args.bin").write_text("x" * 999)
    bytes_of_weights = 4 * figures.parameters(model)
    assert bytes_of_weights < figures.size_bytes(tmp_path) < bytes_of_weights + 20_000
    assert figures.size_bytes(tmp_path) == (tmp_path / "model.safetensors").stat().st_size


def test_size_adds_shards_and_prefers_safetensors(tmp_path):
    sizes = {"model-00001-of-00002.safetensors": 5, "model-00002-of-00002.safetensors": 6, "pytorch_model.bin": 9}
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(b"x" * size)
    assert figures.size_bytes(tmp_path) == 11
    with pytest.raises(PlmcError, match="no weights"):
        figures.size_bytes(tmp_path / "nowhere")


def split_of(lengths):
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = Ragged(np.arange(offsets[-1]) % 50, offsets)
    types = Ragged(np.zeros(offsets[-1], dtype=np.int64), offsets)
    rows = np.arange(len(lengths))
    return Split({"input_ids": tokens, "token_type_ids": types}, None, rows, None, rows, "x")


def test_rows_for_latency_keep_their_own_length():
    lengths = [3, 9, 5, 7]
    batches = figures.single_rows(split_of(lengths), count=4, seed=1)
    assert sorted(batch["input_ids"].shape[1] for batch in batches) == sorted(lengths)
    for batch in batches:
        assert batch["input_ids"].shape == batch["attention_mask"].shape == batch["token_type_ids"].shape
        assert batch["attention_mask"].all()


def test_latency_takes_turns_and_leaves_no_trace():
    model, rows, order = bert().train(), figures.single_rows(split_of([4, 6, 8])), []
    before = torch.get_num_threads()
    contenders = {"bert": model, "a": lambda batch: order.append("a"), "b": lambda batch: order.append("b")}
    timings = figures.latency(contenders, rows, rounds=2, warmup=1, threads=1)
    assert model.training and torch.get_num_threads() == before
    assert order.count("a") == order.count("b") == 2 * 3 + 1
    timed = order[2:]
    assert all({*timed[i : i + 2]} == {"a", "b"} for i in range(0, len(timed), 2))
    assert {timing.calls for timing in timings.values()} == {6}
    assert all(timing.lower_ms <= timing.median_ms <= timing.upper_ms for timing in timings.values())
    assert timings["bert"].median_ms > timings["a"].median_ms


def test_latency_measures_milliseconds():
    rows = [{"x": torch.zeros(1)}] * 3
    timing = figures.latency({"sleep": lambda batch: time.sleep(0.01)}, rows, rounds=1, warmup=0)["sleep"]
    assert 10 <= timing.median_ms < 30
    assert "1 thread" in str(timing)


def test_the_budget_stops_after_the_first_pass():
    timing = figures.latency({"f": lambda batch: None}, [{"x": torch.zeros(1)}] * 5, rounds=1000, budget=0.0)["f"]
    assert timing.calls == 5


def test_inputs_a_model_does_not_know_are_left_out():
    rows = figures.single_rows(split_of([4, 6]))
    assert "token_type_ids" in rows[0]
    assert figures.latency({"student": distilbert()}, rows, rounds=1)["student"].calls == 2


def test_latency_without_rows_is_an_error():
    with pytest.raises(PlmcError, match="at least one"):
        figures.latency({"f": print}, [])


def test_peak_memory_never_falls():
    before = figures.peak_memory_bytes()
    kept = np.ones(math.ceil(30e6 / 8))
    assert figures.peak_memory_bytes() >= before > 10e6
    assert kept.sum() > 0


def test_the_machine_is_described():
    found = figures.machine()
    assert found["cores"] >= 1 and found["memory_bytes"] > 1e8 and found["cpu"]
    assert found["versions"]["torch"] == torch.__version__
