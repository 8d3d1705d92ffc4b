"""Four families of tiny random encoders on disk, with tokenizers that know the embedded world's words."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    BertTokenizerFast,
    DistilBertConfig,
    DistilBertForMaskedLM,
    DistilBertTokenizerFast,
    ElectraConfig,
    ElectraForPreTraining,
    ElectraTokenizerFast,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaTokenizerFast,
)

from plmc.data.embedded import Embedded

FAMILIES = ("bert", "roberta", "distilbert", "electra")
# As their released models are set up; with the tokenizer of BERT.
OTHERS = {
    "mpnet": {},
    "deberta-v2": {
        "relative_attention": True,
        "position_buckets": 32,
        "pos_att_type": ["p2c", "c2p"],
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "position_biased_input": False,
        "type_vocab_size": 0,
    },
    "modernbert": {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3, "local_attention": 8},
}
LAYERS, WIDTH, HEADS, INTERMEDIATE = 4, 32, 4, 48


def word_pieces(size: int = 400, seed: int = 0, kind: type = BertTokenizerFast) -> PreTrainedTokenizerFast:
    """A tokenizer of word pieces of the class `kind`, trained on the embedded world's plain text."""
    return kind(vocab=dict(_pieces(size, seed)), do_lower_case=True, model_max_length=512)


@cache
def _pieces(size: int, seed: int) -> dict[str, int]:
    # Training breaks ties by chance; BERT, DistilBERT and ELECTRA have one vocabulary.
    from tokenizers import BertWordPieceTokenizer

    trained = BertWordPieceTokenizer(lowercase=True)
    trained.train_from_iterator(Embedded(seed=seed).corpus(300), vocab_size=size, min_frequency=1, show_progress=False)
    return trained.get_vocab()


def byte_pairs(size: int = 500) -> PreTrainedTokenizerFast:
    """A RoBERTa tokenizer trained on the same text."""
    import json

    from tokenizers import ByteLevelBPETokenizer

    trained = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator(Embedded().corpus(300), vocab_size=size, special_tokens=special, show_progress=False)
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    return RobertaTokenizerFast(vocab=model["vocab"], merges=merges, model_max_length=512)


def decoder(folder: Path, kind: str, *, padding: bool) -> Path:
    """Saves a random decoder with byte pairs of its own, with or without a token for padding; returns the folder."""
    from tokenizers import Tokenizer

    trained = Tokenizer.from_str(byte_pairs().backend_tokenizer.to_str())
    trained.post_processor = None  # a decoder's rows have no special tokens around them
    special = {"eos_token": "</s>"} | ({"pad_token": "<pad>"} if padding else {})
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=trained, model_max_length=512, **special)
    shape = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": HEADS, "num_key_value_heads": 2}
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    given = {"vocab_size": len(tokenizer), "intermediate_size": INTERMEDIATE, "head_dim": 8} | shape | ends
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **given)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save(folder: Path, family: str, *, layers: int = LAYERS, seed: int = 0, tokenizer=None) -> Path:
    """Saves a random model of `family` with a tokenizer of its own class; returns the folder."""
    kinds = {"bert": BertTokenizerFast, "distilbert": DistilBertTokenizerFast, "electra": ElectraTokenizerFast}
    kind = kinds.get(family, BertTokenizerFast)
    tokenizer = tokenizer or (byte_pairs() if family == "roberta" else word_pieces(kind=kind))
    shape = {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "intermediate_size": INTERMEDIATE,
        "max_position_embeddings": 512,
        "pad_token_id": tokenizer.pad_token_id,
    }
    torch.manual_seed(seed)
    if family == "bert":
        model = BertForMaskedLM(BertConfig(**shape))
    elif family == "electra":
        model = ElectraForPreTraining(ElectraConfig(**shape, embedding_size=16))
    elif family == "roberta":
        ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
        model = RobertaForMaskedLM(
            RobertaConfig(**shape | ends | {"max_position_embeddings": 514, "type_vocab_size": 1})
        )
    elif family in OTHERS:
        model = AutoModelForMaskedLM.from_config(AutoConfig.for_model(family, **shape | OTHERS[family]))
    else:
        model = DistilBertForMaskedLM(
            DistilBertConfig(
                vocab_size=len(tokenizer),
                dim=WIDTH,
                n_layers=layers,
                n_heads=HEADS,
                hidden_dim=INTERMEDIATE,
                max_position_embeddings=512,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
