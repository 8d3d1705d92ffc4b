"""A file with weights that a model has no place for is refused: it would load as another model."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification

from plmc.errors import ConfigError
from plmc.models import load
from plmc.models.spec import ModelSpec
from plmc.tasks.glue import Glue
from plmc.testing.stage import bert, tiny_tokenizer


@pytest.fixture
def folder(tmp_path):
    model = bert(vocabulary=len(tiny_tokenizer()))
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    return tmp_path


def add(folder, **tensors):
    file = folder / "model.safetensors"
    save_file({**load_file(file), **tensors}, file, metadata={"format": "pt"})


@pytest.mark.parametrize(
    "name", ["bert.encoder.layer.0.output.adapter.down.weight", "bert.embeddings.prompt.weight", "encoder.prefix.key"]
)
def test_what_belongs_inside_the_encoder_must_have_its_place(folder, name):
    load.load_whole(AutoModelForSequenceClassification, str(folder))
    add(folder, **{name: torch.zeros(2)})
    with pytest.raises(ConfigError, match="holds 1 tensors that a plain bert model has no place for.*Merge"):
        load.load_whole(AutoModelForSequenceClassification, str(folder))
    with pytest.raises(ConfigError, match="no place for"):
        load.build(ModelSpec(name=str(folder)), Glue(name="sst2"), seed=1)


@pytest.mark.parametrize("name", ["cls.seq_relationship.weight", "bert.pooler.extra.weight", "qa_outputs.weight"])
def test_other_heads_and_unused_poolers_may_lie_there(folder, name):
    add(folder, **{name: torch.zeros(2)})
    load.load_whole(AutoModelForSequenceClassification, str(folder))
    load.build(ModelSpec(name=str(folder)), Glue(name="sst2"), seed=1)


def test_a_language_model_starts_from_a_classifier_and_the_other_way_round(folder):
    """Each leaves the head of the other in the file."""
    from transformers import BertForMaskedLM

    classifier = load.load_whole(AutoModelForSequenceClassification, str(folder))
    BertForMaskedLM(classifier.config).save_pretrained(folder)
    load.build(ModelSpec(name=str(folder)), Glue(name="sst2"), seed=1)
    load.load_whole(AutoModelForMaskedLM, str(folder))
