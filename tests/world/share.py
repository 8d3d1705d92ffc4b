"""One of two processes, or the only one: trains every row of the suite, and leaves what came of it.

python share.py FOLDER            with torch.distributed's variables, or without
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from language import lm, text
from method_rows import ROWS
from several import Choose, Table, choices
from torch import nn

from plmc.methods.distill.layers_kd import LayersKD
from plmc.methods.distill.logit_kd import LogitKD
from plmc.methods.distill.task_loss import TaskLoss
from plmc.methods.mlm.cosine_kd import CosineKD
from plmc.methods.mlm.token_kd import TokenKD
from plmc.methods.prune.gmp import GMP
from plmc.methods.prune.gmp_lrr import GMPRewind
from plmc.methods.quant.qat import QAT
from plmc.methods.sharpness.sam import SAM
from plmc.models.attention import use_scores
from plmc.teachers.live import Live
from plmc.teachers.shard import spread
from plmc.testing.methods import listed, stage, student
from plmc.testing.stage import HEADS, bert
from plmc.world import here, together

MORE = {
    "kd, sam, gmp": lambda: {"kd": LogitKD(), "sam": SAM(rho=0.05), "gmp": GMP(every=1)},
    "sparse gradients": lambda: {"task": TaskLoss(), "table": Table(optimizer="sparse_adam", lr=1e-3)},
    "layers_kd, qat": lambda: {"layers": LayersKD(projection="always"), "qat": QAT(scheme="prune_ofa", start=2)},
}
"""Methods in company, by what they are called here."""
SETTINGS = {
    "plain": {},
    "micro_batch": {"micro_batch": 1},
    "a row left": {"batch_size": 7},
    "last": {"select": "last"},
    "many evaluations": {"eval_every": 1, "patience": 2},
}
"""Stages in which a process may be without rows, and of several forwards an update."""


TEXT = {"split": text(16), "kind": "mlm", "evaluate": None, "select": "last"}
LANGUAGE = {
    "mlm": (lambda: {"task": TaskLoss(), "kl": TokenKD(), "cosine": CosineKD()}, {}),
    "mlm, masked, in parts": (
        lambda: {"kl": TokenKD(positions="masked"), "gmp": GMPRewind(every=1)},
        {"micro_batch": 1},
    ),
}
"""Masked language models."""


def cases() -> dict:
    """What is trained, by name: methods and options."""
    found = {row.name: (lambda row=row: listed(row), {}) for row in ROWS}
    found |= {name: (make, {}) for name, make in MORE.items()}
    found |= {name: (lambda: {"kd": LogitKD()}, options) for name, options in SETTINGS.items()}
    teacher = {"sharded": True, "micro_batch": 1, "batch_size": 7}
    found["a sharded teacher"] = (lambda: {"kd": LogitKD(), "layers": LayersKD(), "sam": SAM()}, teacher)
    choice = {"split": choices(14), "evaluate": None, "batch_size": 5}
    found["several sequences a row"] = (lambda: {"choose": Choose(), "sam": SAM()}, choice)
    language = {"model": lm(dropout=0.0), "teacher": lm(7, dropout=0.0)}
    return found | {name: (make, {**TEXT, **language, **options}) for name, (make, options) in LANGUAGE.items()}


def sharded() -> nn.Module:
    """A teacher of which each process holds a part, where there are several."""
    model = bert(7, layers=4).requires_grad_(False)
    use_scores(model)
    return spread(model, torch.device("cpu"), here()) if here().size > 1 else model


def trained(folder: Path) -> dict:
    """By name: weights, metrics, state of the methods, and the losses of all updates."""
    found = {}
    for name, (make, options) in cases().items():
        torch.manual_seed(0)
        given = {"lr": 1e-4, "model": student(dropout=0.0), "teacher": bert(7, layers=4), **options}
        if given.pop("sharded", False):
            needs = frozenset({"teacher.logits", "teacher.hidden_states", "teacher.scores"})
            given["source"] = Live(sharded(), needs, HEADS["classification"], together=True)
        made = stage(folder / name, make(), **given).fit()
        losses = [values["loss"] for _, values in sorted(made.logs.items()) if "loss" in values]
        found[name] = (made.weights, made.model.state_dict(), made.outcome.metrics, made.chain.state_dict(), losses)
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    place = Path(sys.argv[1])
    with together() as world:
        torch.save(trained(place), place / f"{world.rank}.pt")
