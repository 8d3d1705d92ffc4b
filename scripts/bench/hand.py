"""The reference: a loop written by hand, batches of like length, the teacher's logits computed once."""

from __future__ import annotations

import random
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import common
import torch


def run(job: common.Job, options: str) -> tuple[torch.nn.Module, dict[str, Any]]:
    """`options`: `fp32` or `bf16` (autocast), and `malloc`: the C library keeps freed memory, as it does under plmc."""
    from transformers import get_linear_schedule_with_warmup

    precision, _, malloc = options.partition(" ")
    if malloc:
        from plmc.training import memory

        memory.keep()

    rows = common.Rows(Path(job.folder) / "train.json")
    teacher, student = common.load(job, "teacher"), common.load(job, "student")
    total = common.updates(job, rows)
    optimizer = torch.optim.AdamW(common.parameter_groups(student), lr=job.lr, fused=True)
    schedule = get_linear_schedule_with_warmup(optimizer, int(common.WARMUP * total), total)
    rng = random.Random(job.seed)
    clock = common.Clock()

    def half():
        return torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else nullcontext()

    logits = None
    if not job.hidden:
        logits = torch.empty(len(rows), student.config.num_labels)
        order = sorted(range(len(rows)), key=lambda row: len(rows.ids[row]))
        with torch.inference_mode(), half():
            for start in range(0, len(order), job.batch_size):
                picked = order[start : start + job.batch_size]
                batch = common.pad([rows[row] for row in picked])
                batch.pop("labels")
                logits[picked] = teacher(**batch).logits.float()
        logits = logits.clone()
    for _ in range(job.epochs):
        for picked in batches(rows, job.batch_size, rng):
            batch = common.pad([rows[row] for row in picked])
            labels = batch.pop("labels")
            with half():
                output = student(**batch, output_hidden_states=job.hidden)
                if job.hidden:
                    with torch.no_grad():
                        taught = teacher(**batch, output_hidden_states=True)
            loss = common.logit_loss(
                output.logits.float(), taught.logits.float() if job.hidden else logits[picked], labels
            )
            if job.hidden:
                loss = loss + common.hidden_loss(output.hidden_states, taught.hidden_states, batch["attention_mask"])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(student.parameters(), common.CLIP)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
    return student, clock.stop()


def batches(rows: common.Rows, size: int, rng: random.Random) -> list[list[int]]:
    """An epoch in random order, sorted by length inside windows of 50 batches."""
    order = list(range(len(rows)))
    rng.shuffle(order)
    found = []
    for start in range(0, len(order), 50 * size):
        window = sorted(order[start : start + 50 * size], key=lambda row: len(rows.ids[row]))
        found += [window[i : i + size] for i in range(0, len(window), size)]
    rng.shuffle(found)
    return found
