"""A tiny model on disk, and runtimes that take a time we choose."""

import time
from types import SimpleNamespace

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification


def tiny(folder, tokenizer, *, layers=2, width=32, seed=0):
    """A random BERT with its tokenizer, as of save_pretrained."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=64,
        num_labels=2,
    )
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def sleeper(milliseconds, log=None, name=""):
    """A runtime that sleeps; `log` collects its name at every call."""

    def run(feed):
        if log is not None:
            log.append(name)
        time.sleep(milliseconds / 1000)

    return SimpleNamespace(run=run)


def feeds(count, batch=1, tokens=4):
    return tuple({"input_ids": np.ones((batch, tokens), dtype=np.int64)} for _ in range(count))
