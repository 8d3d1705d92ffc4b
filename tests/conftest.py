"""What all tests share: a tokenizer made in memory, and the folder of real data where there is one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

# Tiny models: more threads only wait for each other, above all when several workers share the cores.
torch.set_num_threads(1)

_CHECKOUT = Path(__file__).resolve().parent.parent
_WORDS = (
    "the a an is was it of in to and film good bad great dull boring fine not very he she who what when where "
    "cat dog sat on mat runs eats sees house city river answer question 1 2 3 10 . , ? ! ' \" - ( )"
).split()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real GLUE and SQuAD files: the folder `PLMC_SHARED`, or `../shared/data` beside the checkout."""
    folder = Path(os.environ.get("PLMC_SHARED") or _CHECKOUT.parent / "shared" / "data")
    if not (folder / "glue").is_dir():
        pytest.skip(f"no real data: {folder}/glue is missing; set PLMC_SHARED to a folder with glue/ and squad/")
    return folder


@pytest.fixture(scope="session")
def tiny_tokenizer():
    """A BERT tokenizer of 130 or so tokens: some words, and every letter and digit as a word and as a word piece."""
    from transformers import BertTokenizerFast

    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_WORDS, *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    return BertTokenizerFast(vocab=vocabulary, do_lower_case=True, model_max_length=512)
