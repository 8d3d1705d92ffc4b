"""transformers.Trainer with the loss exchanged, as most scripts for distillation do it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import common
import torch


def run(job: common.Job, options: str) -> tuple[torch.nn.Module, dict[str, Any]]:
    """`options`: `padded` (to the maximum), `dynamic` (to the longest of a batch), `grouped` (by length, dynamic)."""
    from transformers import Trainer, TrainingArguments

    rows = common.Rows(Path(job.folder) / "train.json")
    teacher, student = common.load(job, "teacher"), common.load(job, "student")
    width = job.max_length if options == "padded" else None

    class Distiller(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            labels = inputs.pop("labels")
            with torch.no_grad():
                taught = teacher(**inputs, output_hidden_states=job.hidden)
            output = model(**inputs, output_hidden_states=job.hidden)
            loss = common.logit_loss(output.logits, taught.logits, labels)
            if job.hidden:
                loss = loss + common.hidden_loss(output.hidden_states, taught.hidden_states, inputs["attention_mask"])
            return (loss, output) if return_outputs else loss

    names = {field.name for field in fields(TrainingArguments)}
    grouped: dict[str, Any] = {}
    if options == "grouped":
        # One flag that changed its name with transformers 5.
        grouped = (
            {"group_by_length": True} if "group_by_length" in names else {"train_sampling_strategy": "group_by_length"}
        )
    total = common.updates(job, rows)
    arguments = TrainingArguments(
        output_dir=job.scratch,
        num_train_epochs=job.epochs,
        per_device_train_batch_size=job.batch_size,
        learning_rate=job.lr,
        weight_decay=common.WEIGHT_DECAY,
        max_grad_norm=common.CLIP,
        warmup_steps=int(common.WARMUP * total),
        lr_scheduler_type="linear",
        seed=job.seed,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        **grouped,
    )
    trainer = Distiller(
        model=student, args=arguments, train_dataset=rows, data_collator=lambda picked: common.pad(picked, width)
    )
    clock = common.Clock()
    trainer.train()
    return student, clock.stop()
