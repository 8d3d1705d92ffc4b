"""Tokenizers of the families, and a console that says nothing."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytest.importorskip("zstandard")


@pytest.fixture(scope="session")
def tokenizers(tiny_tokenizer):
    """The tiny tokenizer for each family; RoBERTa's and DistilBERT's make no token types."""
    from deployed import FAMILIES, inputs_of
    from transformers import PreTrainedTokenizerFast

    def of(family):
        # A class of its own name would forget the inputs when it is saved.
        return PreTrainedTokenizerFast(
            tokenizer_object=copy.deepcopy(tiny_tokenizer.backend_tokenizer),
            model_input_names=list(inputs_of(family)),
            model_max_length=64,
            **tiny_tokenizer.special_tokens_map,
        )

    return {family: of(family) for family in FAMILIES}


@pytest.fixture
def silent():
    from plmc.console import Console

    return Console(quiet=True)


@pytest.fixture(scope="session")
def graphs():
    """ONNX graphs of tiny models by family and head, each traced once."""
    from deployed import inputs_of, model_of

    from plmc.export.onnx import to_onnx

    made = {}

    def graph(family: str, head: str):
        if (family, head) not in made:
            made[family, head] = to_onnx(model_of(family, head), inputs_of(family))
        return made[family, head]

    return graph
