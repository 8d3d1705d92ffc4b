"""TextBrewer (Yang et al. 2020)."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import common
import torch


def run(job: common.Job, options: str) -> tuple[torch.nn.Module, dict[str, Any]]:
    """`options`: `padded`, `dynamic`, or `cached` (dynamic, its own cache of batches and logits; logit KD only)."""
    from textbrewer import BasicDistiller, DistillationConfig, GeneralDistiller, TrainingConfig
    from transformers import get_linear_schedule_with_warmup

    if options == "cached" and job.hidden:
        raise NotImplementedError("TextBrewer caches logits only")
    logging.disable(logging.INFO)
    rows = common.Rows(Path(job.folder) / "train.json")
    teacher, student = common.load(job, "teacher"), common.load(job, "student")
    matches = []
    if job.hidden:
        ratio = teacher.config.num_hidden_layers // student.config.num_hidden_layers
        matches = [
            {"layer_T": ratio * m, "layer_S": m, "feature": "hidden", "loss": "hidden_mse", "weight": 1.0}
            for m in range(1, student.config.num_hidden_layers + 1)
        ]
    train = TrainingConfig(
        output_dir=job.scratch,
        log_dir=None,
        device="cpu",
        ckpt_frequency=1,
        ckpt_epoch_frequency=job.epochs,
    )
    distil = DistillationConfig(
        temperature=common.TEMPERATURE,
        kd_loss_type="ce",
        kd_loss_weight=1 - common.ALPHA,
        hard_label_weight=common.ALPHA,
        intermediate_matches=matches,
        is_caching_logits=options == "cached",
    )
    kind = GeneralDistiller if job.hidden else BasicDistiller
    distiller = kind(train, distil, teacher, student, adaptor, adaptor)
    loader = torch.utils.data.DataLoader(
        rows,
        batch_size=job.batch_size,
        shuffle=True,
        generator=torch.Generator().manual_seed(job.seed),
        collate_fn=partial(common.pad, width=job.max_length if options == "padded" else None),
    )
    total = common.updates(job, rows)
    optimizer = torch.optim.AdamW(common.parameter_groups(student), lr=job.lr, fused=True)
    clock = common.Clock()
    with distiller:
        distiller.train(
            optimizer,
            loader,
            num_epochs=job.epochs,
            max_grad_norm=common.CLIP,
            scheduler_class=get_linear_schedule_with_warmup,
            scheduler_args={"num_warmup_steps": int(common.WARMUP * total), "num_training_steps": total},
            output_hidden_states=job.hidden,
        )
    return student, clock.stop()


def adaptor(batch: dict[str, Any], output: Any) -> dict[str, Any]:
    """A model's output in TextBrewer's words."""
    found = {"logits": (output.logits,), "losses": (output.loss,)}
    if output.hidden_states is not None:
        found |= {"hidden": output.hidden_states, "inputs_mask": batch["attention_mask"]}
    return found
