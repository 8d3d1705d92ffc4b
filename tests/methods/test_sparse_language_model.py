"""Prune OFA on a language that a tiny model masters: gradual against one shot, and what its pattern is worth
elsewhere."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_mlm_methods import V, lm, updates
from torch import nn

from plmc.core.rows import Ragged, Split
from plmc.data.masking import Masking
from plmc.methods.distill.task_loss import TaskLoss
from plmc.methods.mlm.token_kd import TokenKD
from plmc.methods.prune.gmp import GMP
from plmc.methods.prune.gmp_lrr import GMPRewind
from plmc.methods.prune.lock import PatternLock
from plmc.testing.stage import rig

SPARSITY, LENGTH, SPECIAL, TOPICS, WORDS = 0.9, 12, 5, 5, 11


def language(count: int, seed: int, step: int = 1) -> Split:
    """Rows that count through the words of one topic by `step`: neighbours tell a hidden word exactly."""
    rng = np.random.default_rng(seed)
    topic, first = rng.integers(0, TOPICS, count), rng.integers(0, WORDS, count)
    words = (first[:, None] + step * np.arange(LENGTH)) % WORDS
    ids = Ragged((SPECIAL + topic[:, None] * WORDS + words).ravel(), LENGTH * np.arange(count + 1))
    masking = Masking(
        weights=np.where(np.arange(V) < SPECIAL, 0.0, 1.0), ordinary=np.arange(SPECIAL, V), mask_id=4, rate=0.3
    )
    number = np.arange(count)
    return Split({"input_ids": ids}, None, number, None, number, f"language-{count}-{seed}-{step}", draws=masking)


def trained(folder, methods, model, steps, *, step=1, lr=1e-3, **options) -> nn.Module:
    given = {
        "kind": "mlm",
        "evaluate": None,
        "select": "last",
        "batch_size": 32,
        "eval_every": 10**6,
        "log_every": 10**6,
    }
    split = language(2000, 0, step)
    return (
        rig(methods, folder, model=copy.deepcopy(model), split=split, steps=steps, lr=lr, **{**given, **options})
        .fit()
        .model
    )


def loss(model: nn.Module, step: int = 1) -> float:
    """Mean cross-entropy of hidden words in rows not trained on."""
    model.eval()
    total = 0.0
    with torch.no_grad():
        for batch in updates(language(400, 1, step), count=12, seed=99, batch_size=32):
            logits = model(**batch[0].inputs).logits
            total += F.cross_entropy(logits.flatten(0, 1), batch[0].labels.flatten(), ignore_index=-100).item() / 12
    return total


@pytest.fixture(scope="module")
def dense(tmp_path_factory) -> nn.Module:
    return trained(
        tmp_path_factory.mktemp("dense"), {"mlm": TaskLoss()}, lm(0, dropout=0.0), 2500, lr=3e-3, warmup="10%"
    )


def pruned(folder, dense, steps, seed, method) -> nn.Module:
    methods = {"mlm": TaskLoss(weight=0.5), "token_kd": TokenKD(weight=0.5), "gmp": method}
    return trained(folder, methods, dense, steps, teacher=copy.deepcopy(dense), seed=seed)


def gradual() -> GMPRewind:
    return GMPRewind(final=SPARSITY)


def one_shot() -> GMP:
    return GMP(begin="0%", end="0%", initial=SPARSITY, final=SPARSITY)


@pytest.mark.parametrize("seed", [1, 2])
def test_gradual_with_distillation_beats_one_shot_under_the_same_budget(dense, tmp_path, seed):
    assert loss(dense) < 0.1  # there is something to lose
    best, other = (
        loss(pruned(tmp_path / name, dense, 400, seed, method))
        for name, method in (("gradual", gradual()), ("one", one_shot()))
    )
    assert best < 0.9 * other, f"{best:.4f} against {other:.4f}"


def test_its_pattern_is_worth_more_than_a_random_one_elsewhere(dense, tmp_path):
    sparse = pruned(tmp_path / "sparse", dense, 400, 1, gradual())
    drawn, generator = copy.deepcopy(dense), torch.Generator().manual_seed(0)
    weights = dict(sparse.named_parameters())
    with torch.no_grad():
        for name, weight in drawn.named_parameters():
            zeros = int((weights[name] == 0).sum())
            if zeros > weight.numel() / 2:
                weight.view(-1)[torch.randperm(weight.numel(), generator=generator)[:zeros]] = 0
    results = []
    for name, model in (("pattern", sparse), ("random", drawn)):
        before = {n: w == 0 for n, w in model.named_parameters() if (w == 0).float().mean() > 0.5}
        assert len(before) == 12
        locked = trained(tmp_path / name, {"mlm": TaskLoss(), "lock": PatternLock()}, model, 150, step=3)
        assert all(torch.equal(before[n], w == 0) for n, w in locked.named_parameters() if n in before)
        results.append(loss(locked, step=3))
    assert results[0] < 0.8 * results[1], results
