"""What the papers and their code print, read from the recipes: a default that drifts is noticed."""

from __future__ import annotations

import pytest

from plmc.config.compose import compose, plain
from plmc.config.resolve import resolve

# recipe, words, dotted place in the stages, printed value
PRINTED = [
    ("hype", "task=rte", "finetune.lr", 2e-5),
    ("hype", "task=rte", "finetune.batch_size", 16),
    ("hype", "task=rte", "finetune.warmup", "10%"),
    ("hype", "task=rte", "finetune.epochs", 3),
    ("hype", "task=rte", "finetune.eps", 1e-6),
    ("hype", "task=rte", "finetune.weight_decay", 0.01),
    ("hype", "task=rte", "finetune.methods.hype.sigma", 1e-5),
    ("hype", "task=rte", "finetune.methods.hype.hidden_dropout", 0.0),
    ("hype_control", "task=rte", "finetune.methods.hype.sigma", 0.0),
    ("hype_control", "task=rte", "finetune.lr", 2e-5),
    ("hype_control", "task=rte", "finetune.batch_size", 16),
    ("layer_drop", "task=rte", "finetune.weight_decay", 0.0),
    ("layer_drop", "task=rte", "finetune.warmup", "0%"),
    ("layer_drop", "task=rte", "finetune.epochs", 3),
    ("layer_drop", "task=rte", "finetune.lr", 5e-5),
    ("layer_drop", "task=rte", "finetune.batch_size", 32),
    *[
        ("tinybert", f"task={task}", "intermediate.epochs", epochs)
        for task, epochs in {
            "sst2": 20,
            "mrpc": 20,
            "rte": 20,
            "stsb": 20,
            "mnli": 10,
            "qqp": 10,
            "qnli": 10,
            "cola": 50,
        }.items()
    ],
    ("tinybert", "task=rte", "intermediate.lr", 5e-5),
    ("tinybert", "task=rte", "intermediate.batch_size", 32),
    ("tinybert", "task=rte", "intermediate.methods.augment.p", 0.4),
    ("tinybert", "task=rte", "intermediate.methods.augment.n", 20),
    ("tinybert", "task=rte", "intermediate.methods.augment.k", 15),
    ("tinybert", "task=rte", "prediction.epochs", 3),
    ("tinybert", "task=rte", "prediction.lr", 3e-5),
    ("tinybert", "task=rte", "prediction.methods.prediction.temperature", 1.0),
    *[
        ("tinybert_code", f"task={task}", f"{stage}.methods.augment.n", n)
        for stage in ("intermediate", "prediction")
        for task, n in {"cola": 30, "mnli": 10, "mrpc": 30, "sst2": 20, "qqp": 10, "qnli": 20, "rte": 30}.items()
    ],
    ("tinybert_code", "task=stsb", "intermediate.methods.augment.n", 30),
    ("tinybert_general", "task=rte", "general.epochs", 3),
    ("tinybert_general", "task=rte", "general.lr", 5e-5),
    ("tinybert_general", "task=rte", "general.warmup", "10%"),
    ("tinybert_general", "task=cola", "intermediate.epochs", 50),
    ("tinybert_general", "task=mnli", "intermediate.epochs", 10),
    ("distilbert", "task=rte", "distil.epochs", 3),
    ("distilbert", "task=rte", "distil.lr", 5e-4),
    ("distilbert", "task=rte", "distil.warmup", "5%"),
    ("distilbert", "task=rte", "distil.betas", [0.9, 0.98]),
    ("distilbert", "task=rte", "distil.eps", 1e-6),
    ("distilbert", "task=rte", "distil.weight_decay", 0.0),
    ("distilbert", "task=rte", "distil.clip", 5.0),
    ("distilbert", "task=rte", "distil.task.smoothing", 0.7),
    ("distilbert", "task=rte", "distil.methods.token_kd.temperature", 2.0),
    ("distilbert", "task=rte", "distil.methods.token_kd.weight", 5.0),
    ("distilbert", "task=rte", "distil.methods.mlm.weight", 2.0),
    ("distilbert", "task=rte", "distil.methods.cosine.weight", 1.0),
    ("distilbert", "task=rte", "finetune.methods.kd.alpha", 1.0),
    ("gmp_obert", "task=rte", "prune.epochs", 10),
    ("gmp_obert", "task=rte", "prune.lr", 8e-5),
    ("gmp_obert", "task=rte", "prune.methods.gmp.initial", 0.7),
    ("gmp_obert", "task=rte", "prune.methods.gmp.begin", "20%"),
    ("gmp_obert", "task=rte", "prune.methods.gmp.end", "80%"),
    ("gmp_obert", "task=rte", "prune.methods.gmp.every", "5%"),
    ("gmp_obert", "task=rte", "prune.methods.gmp.lr_end_factor", 0.25),
    ("gmp_obert", "task=rte", "prune.methods.kd.temperature", 2.0),
    ("gmp_obert", "task=rte", "prune.methods.kd.alpha", 0.0),
    *[
        (recipe, "task=rte", place, value)
        for recipe in ("prune_ofa", "prune_ofa_85")
        for place, value in [
            ("prune.lr", 5e-5),
            ("prune.methods.gmp.end", "50%"),
            ("prune.methods.gmp.last", "80%"),
            ("prune.methods.gmp.every", "1%"),
            ("prune.methods.gmp.initial", 0),
            ("prune.methods.mlm.weight", 0.5),
            ("prune.methods.token_kd.weight", 0.5),
            ("prune.methods.token_kd.temperature", 2.0),
            ("transfer.lr", 1e-4),
            ("transfer.epochs", 9),
            ("transfer.batch_size", 32),
            ("transfer.methods.kd.alpha", 0.0),
            ("transfer.methods.kd.temperature", 2.0),
            ("qat.lr", 1e-5),
            ("qat.epochs", 3),
            ("qat.methods.qat.scheme", "prune_ofa"),
        ]
    ],
    ("prune_ofa", "task=rte", "prune.methods.gmp.final", 0.9),
    ("prune_ofa_85", "task=rte", "prune.methods.gmp.final", 0.85),
    ("q8bert", "task=rte", "quantize.lr", 2e-5),
    ("q8bert", "task=rte", "quantize.methods.qat.scheme", "q8bert"),
    ("q8bert", "task=rte", "quantize.methods.qat.decay", 0.9999),
    ("q8bert", "task=rte", "quantize.methods.qat.start", "0%"),
    ("sam", "task=rte", "finetune.methods.sam.rho", 0.05),
    ("delta_sam", "task=rte", "finetune.methods.delta_sam.rho", 0.05),
    ("tinybert_code", "task=rte", "intermediate.schedule", "constant_with_warmup"),
    ("tinybert_code", "task=rte", "intermediate.warmup", "0%"),
    ("tinybert_code", "task=rte", "prediction.warmup", "10%"),
]


def stages(*words):
    return {stage.name: stage for stage in resolve(plain(compose(words))).recipe.stages}


def test_a_task_of_ones_own_takes_the_common_value(tmp_path):
    (tmp_path / "x.csv").write_text("a,label\none,yes\ntwo,no\nthree,yes\nfour,no\n" * 10)
    given = [f"task.train={tmp_path}/x.csv", f"task.validation={tmp_path}/x.csv"]
    assert (
        stages("recipe=tinybert", "task=custom", *given, "task.name=mine", "task.text=[a]")["intermediate"].epochs == 20
    )


@pytest.mark.parametrize("recipe, words, place, value", PRINTED, ids=lambda word: str(word))
def test_a_recipe_has_the_printed_value(recipe, words, place, value):
    name, *path = place.split(".")
    found = stages(f"recipe={recipe}", words)[name]
    for step in path:
        found = found[step] if isinstance(found, dict) else getattr(found, step)
    assert found == value
