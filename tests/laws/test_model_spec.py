"""Which layers a student takes over from its teacher."""

from fractions import Fraction

import pytest
import torch

from plmc.models.spec import ModelSpec


@pytest.mark.parametrize(
    "available, layers, kept",
    [
        (12, "half", [0, 2, 4, 7, 9, 11]),  # the layers of DistilBERT
        (12, 6, [0, 2, 4, 7, 9, 11]),
        (6, "half", [0, 2, 5]),
        (6, 4, [0, 2, 3, 5]),
        (12, 4, [0, 4, 7, 11]),
        (12, 3, [0, 5, 11]),
        (12, 1, [0]),
        (12, 12, list(range(12))),
    ],
)
def test_layers_are_spread_evenly(available, layers, kept):
    assert ModelSpec(name="any", layers=layers).kept(available) == kept


def test_each_kept_layer_is_the_nearest_to_an_even_spread():
    for available in range(2, 49):
        for count in range(2, available + 1):
            kept = ModelSpec(name="any", layers=count).kept(available)
            assert len(set(kept)) == count and kept == sorted(kept) and (kept[0], kept[-1]) == (0, available - 1)
            for number, layer in enumerate(kept):
                # At most half a layer away; exactly between two layers, the lower one.
                distance = Fraction(number * (available - 1), count - 1) - layer
                assert Fraction(-1, 2) < distance <= Fraction(1, 2)


def test_half_of_bert_base_without_types_and_pooler_has_the_size_of_distilbert():
    """DistilBERT: 66,362,880 parameters; layers halve exactly, embeddings lose their token types, the pooler goes."""
    from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel

    with torch.device("meta"):
        half, theirs = BertModel(BertConfig(num_hidden_layers=6)), DistilBertModel(DistilBertConfig())
    gone = half.embeddings.token_type_embeddings.weight.numel() + sum(p.numel() for p in half.pooler.parameters())
    assert sum(p.numel() for p in theirs.parameters()) == 66_362_880
    assert sum(p.numel() for p in half.parameters()) - gone == 66_362_880
