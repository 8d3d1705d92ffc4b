"""BitFit: biases and the task's head, and nothing else."""

from dataclasses import replace

import pytest
import torch
from loop import setting
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from plmc.errors import ConfigError
from plmc.methods.adapt.bitfit import BitFit
from plmc.methods.distill.logit_kd import LogitKD
from plmc.methods.distill.task_loss import TaskLoss
from plmc.methods.mlm.head_only import HeadOnly
from plmc.methods.prune.gmp import GMP
from plmc.testing.stage import HEADS, bert, copy, rig

SMALL = dict(vocab_size=60, num_labels=3)
SIZES = dict(hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48)
FAMILIES = {
    "bert": lambda: BertForSequenceClassification(BertConfig(**SMALL, **SIZES)),
    "roberta": lambda: RobertaForSequenceClassification(RobertaConfig(**SMALL, **SIZES)),
    "electra": lambda: ElectraForSequenceClassification(ElectraConfig(**SMALL, **SIZES, embedding_size=32)),
    "distilbert": lambda: DistilBertForSequenceClassification(
        DistilBertConfig(**SMALL, dim=32, n_layers=3, n_heads=4, hidden_dim=48)
    ),
}


def claimed(model, **fields):
    method = BitFit(**fields)
    method.prepare(model, setting())
    return {name for name, param in model.named_parameters() if method.trains(name, param)}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_bias_of_the_encoder_and_all_of_the_head_are_trained(family):
    model = FAMILIES[family]()
    inner = {name for name, _ in model.named_parameters() if name.startswith(model.base_model_prefix)}
    head = {name for name, _ in model.named_parameters()} - inner
    found = claimed(model)
    assert found - head == {name for name in inner if name.endswith("bias")} and head <= found and head
    assert claimed(model, head=False) == found - head


@pytest.mark.parametrize("family", FAMILIES)
def test_the_few_are_two_in_a_block_of_any_family(family):
    model = FAMILIES[family]()
    found = claimed(model, biases="query_and_intermediate", head=False)
    assert len(found) == 2 * 3
    widths = sorted(model.get_parameter(name).numel() for name in found)
    assert widths == [32] * 3 + [48] * 3
    assert all(any(part in name for part in ("query", "q_lin", "intermediate", "lin1")) for name in found)


def test_all_biases_need_no_known_matrices_and_the_few_say_that_they_do():
    """ConvBERT's blocks are not taken apart by plmc; its biases can be trained all the same."""
    from transformers import ConvBertConfig, ConvBertForSequenceClassification

    model = ConvBertForSequenceClassification(ConvBertConfig(**SMALL, **SIZES, embedding_size=32))
    assert any(name.endswith("self.query.bias") for name in claimed(model)) and BitFit().required() == frozenset()
    assert BitFit(biases="query_and_intermediate").required() == {"matrices"}
    with pytest.raises(ConfigError, match="not an encoder whose matrices"):
        claimed(model, biases="query_and_intermediate")


def test_the_number_of_trained_parameters_is_the_formula(tmp_path):
    """Of L blocks of width d and inner width f: query, key, value, output and two LayerNorms, and both inner ones."""
    layers, d, f, classes = 2, 32, 48, 3
    blocks = layers * (4 * d + f + d + 2 * d)
    embeddings, pooler, head = d, d, classes * (d + 1)
    made = rig({"task": TaskLoss(), "bitfit": BitFit()}, tmp_path).fit()
    assert made.outcome.trained_parameters == blocks + embeddings + pooler + head
    few = rig({"task": TaskLoss(), "bitfit": BitFit(biases="query_and_intermediate")}, tmp_path / "few").fit()
    assert few.outcome.trained_parameters == layers * (d + f) + head


def test_no_other_weight_moves(tmp_path):
    before = copy(bert().state_dict())
    made = rig({"kd": LogitKD(), "bitfit": BitFit()}, tmp_path, teacher=bert(7), select="last", weight_decay=0.1).fit()
    moved = {name for name, value in made.model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved and all(name.endswith("bias") or name.startswith("classifier") for name in moved)
    # Queries, say, but not keys alone: their bias adds the same to all scores of a query and has no gradient.
    assert {"bert.encoder.layer.0.attention.self.query.bias", "classifier.weight"} <= moved


def test_with_the_head_alone_the_union_is_trained(tmp_path):
    before = copy(bert().state_dict())
    methods = {
        "task": TaskLoss(),
        "head_only": HeadOnly(),
        "bitfit": BitFit(biases="query_and_intermediate", head=False),
    }
    made = rig(methods, tmp_path, select="last").fit()
    moved = {name for name, value in made.model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {
        *(
            f"bert.encoder.layer.{i}.{part}.bias"
            for i in (0, 1)
            for part in ("attention.self.query", "intermediate.dense")
        ),
        "classifier.weight",
        "classifier.bias",
    }


def test_a_pruned_model_keeps_its_zeros_and_learns_in_its_biases(tmp_path):
    gmp = GMP(begin=0, end="50%", every=1, initial=0.3, final=0.6)
    made = rig({"task": TaskLoss(), "bitfit": BitFit(), "gmp": gmp}, tmp_path, select="last", steps=10).fit()
    weight, before = (
        made.model.bert.encoder.layer[0].output.dense.weight,
        bert().bert.encoder.layer[0].output.dense.weight,
    )
    assert 0.3 < float((weight == 0).float().mean()) < 0.9
    assert torch.equal(weight[weight != 0], before[weight != 0])


def test_a_masked_language_model_is_refused_with_its_head():
    around = replace(setting(), head=HEADS["mlm"])
    with pytest.raises(ConfigError, match="Set head=false"):
        BitFit().check(around)
    BitFit(head=False).check(around)
