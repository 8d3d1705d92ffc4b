"""The methods without the command line: distil a tiny model in plain Python.

python examples/without_hydra.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import datasets
import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification

from plmc.core.chain import Chain
from plmc.core.rows import Ragged, Split
from plmc.core.stage import Stage
from plmc.heads.classification import ClassificationHead
from plmc.methods.distill.logit_kd import LogitKD
from plmc.methods.prune.gmp import GMP
from plmc.teachers.live import Live
from plmc.training.objective import Objective
from plmc.training.plan import Plan, Saving
from plmc.training.trainer import Trainer


def tiny(layers: int) -> BertForSequenceClassification:
    """A random BERT that trains in seconds."""
    shape = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 100}
    return BertForSequenceClassification(BertConfig(num_hidden_layers=layers, **shape))


def rows(count: int, seed: int) -> Split:
    """Token rows whose label says whether token 7 occurs."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 12, count)
    tokens = [rng.integers(10, 100, length) for length in lengths]
    labels = rng.integers(0, 2, count)
    for row, label in zip(tokens, labels, strict=True):
        if label:
            row[rng.integers(len(row))] = 7
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    columns = {"input_ids": Ragged(np.concatenate(tokens).astype(np.int32), offsets)}
    raw = datasets.Dataset.from_dict({"id": np.arange(count)})
    return Split(columns, labels.astype(np.int64), np.arange(count), raw, np.arange(count), fingerprint=f"toy-{seed}")


def main(updates: int = 60) -> float:
    """Distils a 4-layer teacher into 2 layers while pruning to 50 %; returns the share of zeros."""
    torch.manual_seed(0)
    student, big, train = tiny(2), tiny(4), rows(512, seed=0)
    chain = Chain({"kd": LogitKD(temperature=2.0, alpha=0.5), "gmp": GMP(initial=0.3, final=0.5)})
    stage = Stage(name="distil", methods=chain.named, steps=updates, lr=1e-3)
    head = ClassificationHead()
    live = Live(big, chain.required(), head)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            Objective(student, chain, torch.nn.ModuleDict(), head=head, teachers={"teacher": live}),
            train,
            Plan(stage, stage.clock(len(train))),
            Saving(Path(folder), "example"),
        )
        trainer.fit()
    zeros = chain["gmp"].metrics()["sparsity"]
    print(f"sparsity of the pruned matrices: {zeros:.0%}")
    return zeros


if __name__ == "__main__":
    main()
