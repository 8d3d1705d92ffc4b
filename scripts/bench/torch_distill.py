"""torchdistill (Matsubara 2021)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import common
import torch

CPU = torch.device("cpu")
DEFINED = {"nms": "(Tensor a, Tensor b, float c) -> Tensor", "qnms": "(Tensor a, Tensor b, float c) -> Tensor"}


def run(job: common.Job, options: str) -> tuple[torch.nn.Module, dict[str, Any]]:
    """`options`: `dynamic` (padded to the longest of a batch)."""
    _without_torchvision_kernels()
    from torchdistill.core.distillation import DistillationBox
    from torchdistill.datasets.registry import register_collate_func
    from torchdistill.losses.registry import register_func2extract_model_output

    logging.disable(logging.INFO)
    rows = common.Rows(Path(job.folder) / "train.json")
    teacher, student = common.load(job, "teacher"), common.load(job, "student")

    @register_collate_func(key="kd")
    def collate(picked):
        batch = common.pad(picked)
        labels = batch.pop("labels")
        return batch, labels, {}

    @register_func2extract_model_output(key="no_model_loss")
    def no_model_loss(student_outputs, targets, **supplement):
        return {}

    total = common.updates(job, rows)
    box = DistillationBox(teacher, student, {"train": rows}, _config(job, teacher, student, total), CPU, None, False, 1)
    clock = common.Clock()
    for epoch in range(job.epochs):
        box.pre_epoch_process(epoch=epoch)
        for batch, labels, supplement in box.train_data_loader:
            box.post_forward_process(loss=box.forward_process(batch, labels, supplement))
        box.post_epoch_process()
    return student, clock.stop()


def _config(job: common.Job, teacher: Any, student: Any, total: int) -> dict[str, Any]:
    layers, ratio = (
        student.config.num_hidden_layers,
        teacher.config.num_hidden_layers // student.config.num_hidden_layers,
    )
    logits = {f"{who}_module_{what}": value for who in ("student", "teacher") for what, value in _CLASSIFIER.items()}
    kd = {"key": "KDLoss", "kwargs": {**logits, "temperature": common.TEMPERATURE, "alpha": common.ALPHA}}
    terms = {"kd": {"criterion": kd, "weight": 1.0}}
    hooks: dict[str, list[str]] = {"teacher": ["classifier"], "student": ["classifier"]}
    if job.hidden:
        for m in range(1, layers + 1):
            own, taught = f"bert.encoder.layer.{m - 1}.output", f"bert.encoder.layer.{ratio * m - 1}.output"
            hooks["student"].append(own)
            hooks["teacher"].append(taught)
            wrapper = {
                "input": {"is_from_teacher": False, "module_path": own, "io": "output"},
                "target": {"is_from_teacher": True, "module_path": taught, "io": "output"},
            }
            terms[f"hidden{m}"] = {
                "criterion": {"key": "MSELoss", "kwargs": {}},
                "criterion_wrapper": {"key": "SimpleLossWrapper", "kwargs": wrapper},
                "weight": 1.0,
            }
    model = {"forward_proc": "forward_batch_only_as_kwargs"}
    warm = int(common.WARMUP * total)

    def factor(step: int) -> float:
        return min((step + 1) / max(1, warm), max(0.0, (total - step) / max(1, total - warm)))

    return {
        "num_epochs": job.epochs,
        "train_data_loader": {
            "dataset_id": "train",
            "requires_supp": False,
            "collate_fn": "kd",
            "sampler": {"class_or_func": torch.utils.data.RandomSampler, "kwargs": {}},
            "kwargs": {"batch_size": job.batch_size, "num_workers": 0},
        },
        "teacher": {**model, "requires_grad": False, "forward_hook": {"input": [], "output": hooks["teacher"]}},
        "student": {**model, "forward_hook": {"input": [], "output": hooks["student"]}},
        "criterion": {
            "key": "WeightedSumLoss",
            "kwargs": {"sub_terms": terms},
            "func2extract_model_loss": "no_model_loss",
        },
        "optimizer": {
            "key": "AdamW",
            "kwargs": {"lr": job.lr, "weight_decay": common.WEIGHT_DECAY, "fused": True},
            "max_grad_norm": common.CLIP,
        },
        "scheduler": {
            "key": "LambdaLR",
            "scheduling_step": 1,
            "kwargs": {"lr_lambda": factor},
        },
    }


_CLASSIFIER = {"path": "classifier", "io": "output"}


def _without_torchvision_kernels() -> None:
    """torchdistill imports torchvision, whose compiled part does not load beside a CPU build of torch from another
    index.

    No job here uses it; declaring two of its operators is enough to import the rest.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        import sys

        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        for name, schema in DEFINED.items():
            torch.library.define(f"torchvision::{name}", schema)
