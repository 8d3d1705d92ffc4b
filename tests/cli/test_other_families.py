"""Encoders of other families: a method that cannot find their parts refuses them by name, before anything is
trained."""

import pytest
import torch
from commands import plmc
from transformers import AutoConfig, AutoModel, BertModel
from zoo import word_pieces

from plmc.errors import ConfigError
from plmc.models import encoder, load

# What names its matrices in another way; DeBERTa's and MPNet's blocks have some of BERT's names.
OTHER = {
    "deberta-v2": "attention.self.query_proj",
    "mpnet": "attention.attn.q",
    "convbert": "attention.self.conv_kernel_layer",
}
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
    assert str(where) in ended.message and OTHER[family] in ended.message
    assert "Use BERT, RoBERTa, DistilBERT or ELECTRA" in ended.message


@pytest.mark.parametrize("word", ["recipe=layer_drop", "student.layers=half", "recipe=hype", "compile=true"])
def test_a_family_without_a_stack_of_blocks_is_not_taken_apart(tmp_path, word):
    where = folder(tmp_path, "modernbert", **SHAPE)
    ended = validate(where, "recipe=finetune", word)
    assert ended.code == 2 and "ModernBertModel is not an encoder that plmc can take apart" in ended.message, ended.text


def test_they_are_trained_where_no_part_is_asked_for(tmp_path):
    for family in ("albert", "modernbert", *OTHER):
        where = folder(tmp_path, family, **SHAPE)
        ended = validate(where, "recipe=kd")
        assert ended.code == 0, ended.text


@pytest.mark.parametrize("family", ["gpt2", "t5", "xlnet"])
def test_what_is_no_encoder_is_refused_by_name(tmp_path, family):
    where = folder(tmp_path, family)
    ended = validate(where, "recipe=kd")
    assert ended.code == 2 and f"a model of type {family} has no" in ended.message, ended.text


@pytest.mark.parametrize("family", sorted(load._KNOWN))
def test_the_families_known_by_name_have_six_matrices_a_block(family):
    config = AutoConfig.for_model(family)
    config.num_hidden_layers = 2
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    assert len(encoder.pruned_linears(model)) == 12


def test_a_block_with_one_more_matrix_is_refused():
    with torch.device("meta"):
        model = BertModel(AutoConfig.for_model("bert", **SHAPE))
        model.encoder.layer[1].adapter = torch.nn.Linear(4, 4)
    with pytest.raises(ConfigError, match="its blocks have adapter"):
        encoder.pruned_linears(model)
