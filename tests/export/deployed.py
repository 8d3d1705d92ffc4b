"""Tiny random models of every family and head on disk, with rows for them: what export tests start from."""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import torch
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    RobertaConfig,
)

from plmc.export.source import Source
from plmc.models.load import load_tokenizer
from plmc.tasks.glue import Glue, GlueRegression
from plmc.tasks.squad import Squad

FAMILIES = ("bert", "roberta", "distilbert", "electra")
HEADS = ("classification", "regression", "pair", "span")
WORDS = "the a film is good bad great dull cat dog sat on mat runs house city 1 2 3".split()


def task_of(head: str):
    """A task with that head."""
    return {
        "classification": lambda: Glue(name="sst2", max_length=24),
        "regression": lambda: GlueRegression(name="stsb", max_length=24),
        "pair": lambda: Glue(name="rte", max_length=24),
        "span": lambda: Squad(name="squad", max_length=32, stride=8, max_question_length=8),
    }[head]()


def config_of(family: str, vocabulary: int, *, layers: int = 2, width: int = 32, dropout: float = 0.1):
    """A config of `layers` blocks of `width`."""
    if family == "distilbert":
        return DistilBertConfig(
            vocab_size=vocabulary,
            dim=width,
            n_layers=layers,
            n_heads=4,
            hidden_dim=48,
            max_position_embeddings=64,
            dropout=dropout,
            attention_dropout=dropout,
            seq_classif_dropout=dropout,
            pad_token_id=0,
        )
    kind, more = {
        "bert": (BertConfig, {}),
        "roberta": (RobertaConfig, {"type_vocab_size": 1, "bos_token_id": 2, "eos_token_id": 3}),
        "electra": (ElectraConfig, {"embedding_size": 16}),
    }[family]
    return kind(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=64,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        pad_token_id=0,
        **more,
    )


def model_of(family: str, head: str, *, vocabulary: int = 140, seed: int = 0, **options):
    """A random model whose outputs are far enough apart that small errors keep the answers."""
    torch.manual_seed(seed)
    config = config_of(family, vocabulary, **options)
    if head == "span":
        model = AutoModelForQuestionAnswering.from_config(config)
    else:
        config.num_labels = 1 if head == "regression" else 2
        model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.mul_(4)
    return model.eval()


def inputs_of(family: str) -> tuple[str, ...]:
    """What the family's tokenizer makes."""
    types = ("token_type_ids",) if family in ("bert", "electra") else ()
    return ("input_ids", "attention_mask", *types)


def feed_of(family: str, rows: int, tokens: int, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Random rows; where there is room, the first is padded."""
    rng = np.random.default_rng(seed)
    feed = {"input_ids": rng.integers(5, 140, (rows, tokens)), "attention_mask": np.ones((rows, tokens), np.int64)}
    if rows > 1 and tokens > 4:
        feed["input_ids"][0, -3:], feed["attention_mask"][0, -3:] = 0, 0
    if "token_type_ids" in inputs_of(family):
        feed["token_type_ids"] = np.zeros((rows, tokens), np.int64)
        feed["token_type_ids"][:, tokens // 2 :] = 1
    return feed


def rows_of(head: str, count: int, seed: int) -> datasets.Dataset:
    """Normalised rows of the head's task with random labels."""
    rng = np.random.default_rng(seed)

    def text(low, high):
        return " ".join(rng.choice(WORDS, rng.integers(low, high)))

    columns = {"id": list(range(count)), "text_a": [text(1, 12) for _ in range(count)]}
    if head == "span":
        contexts = [text(4, 60) for _ in range(count)]
        answers = [{"text": [context.split()[0]], "answer_start": [0]} for context in contexts]
        return datasets.Dataset.from_dict(
            {
                **columns,
                "key": [f"q{i}" for i in range(count)],
                "title": ["t"] * count,
                "text_b": contexts,
                "answers": answers,
            }
        )
    if head in ("regression", "pair"):
        columns["text_b"] = [text(1, 12) for _ in range(count)]
    if head == "regression":
        columns["label"] = rng.random(count).astype(np.float32) * 5
    else:
        columns["label"] = rng.integers(0, 2, count)
    return datasets.Dataset.from_dict(columns)


def save(folder: Path, family: str, head: str, tokenizer, **options) -> Path:
    """Model and tokenizer in `folder`."""
    model = model_of(family, head, vocabulary=len(tokenizer), **options)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def source_of(folder: Path, head: str, *, rows: int = 24) -> Source:
    """The saved model with rows of its task."""
    task, tokenizer = task_of(head), load_tokenizer(str(folder))
    evaluation = task.encode(rows_of(head, rows, 1), tokenizer, training=False)
    train = task.encode(rows_of(head, 32, 2), tokenizer, training=True)
    return Source(folder, task, evaluation, train, tokenizer.pad_token_id)
