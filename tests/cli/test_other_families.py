"""Encoders of other families: a method that cannot find their parts refuses them by name, before anything is
trained."""

import pytest
import torch
from commands import plmc
from transformers import AutoConfig, AutoModel, BertModel
from zoo import word_pieces

from plmc.errors import ConfigError
from plmc.models import encoder
from plmc.models.families.find import FAMILIES, of

# Blocks with other matrices, or with BERT's very names in a family that nobody has looked at.
OTHER = {"convbert": "attention.self.conv_kernel_layer", "ernie": "attention.output.dense"}
SHAPE = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48}


def validate(where, *words):
    """A check of a run whose teacher and student are the model in `where`."""
    return plmc(
        "validate",
        "data=embedded",
        "student=base",
        f"teacher.name={where}",
        f"student.name={where}",
        f"output_dir={where}/out",
        *words,
    )


def folder(base, family, **shape):
    """A model folder of `family` without weights: a check reads no more."""
    AutoConfig.for_model(family, **shape).save_pretrained(base / family)
    word_pieces().save_pretrained(base / family)
    return base / family


@pytest.mark.parametrize("family", OTHER)
@pytest.mark.parametrize(
    "words",
    [
        ("recipe=gmp_star",),
        ("recipe=finetune", "method=[ffn_prune]"),
        ("recipe=finetune", "method=[qat]"),
        ("recipe=prune_ofa_transfer",),
    ],
    ids=" ".join,
)
def test_a_family_whose_matrices_are_unknown_is_not_pruned_in_part(tmp_path, family, words):
    where = folder(tmp_path, family, **SHAPE)
    ended = validate(where, *words)
    assert ended.code == 2 and ended.text.count("error ") == 1, ended.text
    units = "method=[ffn_prune]" in words
    said = f"of {family} no feed-forward units can be cut" if units else OTHER[family]
    assert str(where) in ended.message and said in ended.message
    assert "Use BERT, RoBERTa, DistilBERT, ELECTRA, MPNet" in ended.message


@pytest.mark.parametrize("word", ["recipe=layer_drop", "student.layers=half", "recipe=hype", "compile=true"])
def test_a_family_without_a_stack_of_blocks_is_not_taken_apart(tmp_path, word):
    where = folder(tmp_path, "albert", **SHAPE)
    ended = validate(where, "recipe=finetune", word)
    assert ended.code == 2 and "AlbertModel is not an encoder that plmc can take apart" in ended.message, ended.text


def test_they_are_trained_where_no_part_is_asked_for(tmp_path):
    for family in ("albert", *OTHER):
        where = folder(tmp_path, family, **SHAPE)
        ended = validate(where, "recipe=kd")
        assert ended.code == 0, ended.text


@pytest.mark.parametrize("family", ["gpt2", "t5", "xlnet"])
def test_what_is_no_encoder_is_refused_by_name(tmp_path, family):
    where = folder(tmp_path, family)
    ended = validate(where, "recipe=kd")
    assert ended.code == 2 and f"a model of type {family} has no" in ended.message, ended.text


@pytest.mark.parametrize("kind", sorted(kind for family in FAMILIES for kind in family.types))
def test_all_types_of_a_family_have_its_matrices(kind):
    config = AutoConfig.for_model(kind)
    config.num_hidden_layers = 2
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    assert len(encoder.pruned_linears(model)) == 2 * len(of(config).matrices)


def test_a_block_with_one_more_matrix_is_refused():
    with torch.device("meta"):
        model = BertModel(AutoConfig.for_model("bert", **SHAPE))
        model.encoder.layer[1].adapter = torch.nn.Linear(4, 4)
    with pytest.raises(ConfigError, match="its blocks have adapter"):
        encoder.pruned_linears(model)
