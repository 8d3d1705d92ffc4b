"""plmc itself: the stage that `plmc train recipe=kd` would run, teacher's outputs included, without the final
report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import common
import torch

HIDDEN = (
    "+recipe.stages.distil.methods.hidden={_target_: plmc.methods.distill.layers_kd.LayersKD, "
    "attention: 0, embedding: 0, hidden: 1}"
)


def run(job: common.Job, options: str) -> tuple[torch.nn.Module, dict[str, Any]]:
    """`options`: `fp32` or `bf16`. Judging on the dev rows is left out of the clock, since no rival does it."""
    from plmc.config.compose import compose, plain
    from plmc.config.resolve import resolve
    from plmc.console import Console
    from plmc.measure import software
    from plmc.models import load
    from plmc.run import stages
    from plmc.tasks import rows
    from plmc.teachers import make
    from plmc.training import memory

    folder = Path(job.folder)
    words = [
        "recipe=kd",
        "task=sst2",
        f"task.max_length={job.max_length}",
        "data=local",
        f"data.root={folder / 'glue'}",
        "teacher=minilm-l6",
        f"teacher.checkpoint={folder / 'teacher'}",
        "student=base",
        f"student.name={folder / 'student'}",
        f"precision={options}",
        f"seed={job.seed}",
        f"threads={job.threads}",
        f"output_dir={job.scratch}",
        "device=cpu",
        f"train.epochs={job.epochs}",
        f"train.batch_size={job.batch_size}",
        f"train.lr={job.lr}",
        "train.eval_every=100%",
        f"recipe.stages.distil.methods.kd.temperature={common.TEMPERATURE}",
        f"recipe.stages.distil.methods.kd.alpha={common.ALPHA}",
        *([HIDDEN] if job.hidden else []),
        *job.words,
    ]
    run = resolve(plain(compose(words)))
    software.own_bars_only()
    memory.keep()
    software.set_threads(job.threads)
    console = Console(quiet=True)
    tokenizer = load.load_tokenizer(run.student.name)
    data = rows.load(run, tokenizer)
    teacher = make.ensure(run, data, console, lambda own: None)
    student = load.build(run.student, run.task, seed=run.seed)
    run.folder.mkdir(parents=True, exist_ok=True)
    work = stages.Stages(
        run,
        student,
        data,
        tokenizer,
        accelerator=software.make_accelerator("cpu"),
        console=console,
        teacher=teacher,
        log=lambda values, step: None,
    )
    judge, clock = stages.evaluate, common.Clock()

    def judged(*arguments, **named):
        with clock.leave_out():
            return judge(*arguments, **named)

    stages.evaluate = judged
    work.go()
    return work.model, clock.stop()
