"""What all jobs share: the rows, the models everybody starts from, the losses, the clock."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

TEMPERATURE, ALPHA, WARMUP, WEIGHT_DECAY, CLIP = 2.0, 0.5, 0.06, 0.01, 1.0


@dataclass(frozen=True)
class Job:
    """One training to be timed. `kd`: `logit` or `hidden`. `folder`: what `prepare` wrote. `scratch`: for this job
    alone."""

    contender: str
    kd: str
    folder: str
    scratch: str
    epochs: int
    batch_size: int
    max_length: int
    lr: float
    seed: int
    threads: int
    words: tuple[str, ...] = ()

    @property
    def hidden(self) -> bool:
        """Whether hidden states are imitated, too."""
        return self.kd == "hidden"


class Rows(torch.utils.data.Dataset):
    """Tokenised rows as the dictionaries that every library takes: `input_ids`, `labels`."""

    def __init__(self, path: Path):
        stored = json.loads(path.read_text(encoding="utf-8"))
        self.ids, self.labels = stored["input_ids"], stored["labels"]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"input_ids": self.ids[row], "labels": self.labels[row]}


class Clock:
    """CPU seconds (user and system, all threads) and wall seconds from its making to `stop`, without what `leave_out`
    spans."""

    def __init__(self) -> None:
        self._begin = (cpu_seconds(), time.perf_counter())

    @contextmanager
    def leave_out(self):
        """What happens inside does not count."""
        cpu, wall = cpu_seconds(), time.perf_counter()
        yield
        begun_cpu, begun_wall = self._begin
        self._begin = (begun_cpu + cpu_seconds() - cpu, begun_wall + time.perf_counter() - wall)

    def stop(self) -> dict[str, float]:
        """The seconds so far."""
        cpu, wall = self._begin
        return {"cpu_seconds": cpu_seconds() - cpu, "wall_seconds": time.perf_counter() - wall}


def cpu_seconds() -> float:
    """Of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def load(job: Job, name: str) -> torch.nn.Module:
    """`teacher` (frozen, evaluation mode) or `student` (training mode), in float32."""
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(Path(job.folder) / name, dtype=torch.float32)
    return model.eval().requires_grad_(False) if name == "teacher" else model.train()


def pad(rows: Sequence[dict[str, Any]], width: int | None = None) -> dict[str, torch.Tensor]:
    """A batch padded to `width`, or to its longest row."""
    width = width or max(len(row["input_ids"]) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row["input_ids"])] = torch.tensor(row["input_ids"])
        mask[i, : len(row["input_ids"])] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([row["labels"] for row in rows])}


def logit_loss(student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """alpha · CE + (1 - alpha) · T² · KL(teacher ‖ student), all `(B, C)`."""
    soft = F.kl_div(
        F.log_softmax(student / TEMPERATURE, -1), F.softmax(teacher / TEMPERATURE, -1), reduction="batchmean"
    )
    return ALPHA * F.cross_entropy(student, labels) + (1 - ALPHA) * TEMPERATURE**2 * soft


def hidden_loss(student: Sequence, teacher: Sequence, mask: torch.Tensor) -> torch.Tensor:
    """Mean squared error on real tokens; student layer m imitates teacher layer 2 m. `(B, T, D)` each, embedding
    first."""
    ratio = (len(teacher) - 1) // (len(student) - 1)
    real = mask[..., None].float()
    count = real.sum() * student[0].shape[-1]
    return sum((((student[m] - teacher[m * ratio]).float() ** 2) * real).sum() / count for m in range(1, len(student)))


def parameter_groups(model: torch.nn.Module) -> list[dict[str, Any]]:
    """Weight decay on matrices only, as everybody has it."""
    matrices = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    return [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]


def updates(job: Job, rows: Rows) -> int:
    """Updates of the whole training."""
    return -(-len(rows) // job.batch_size) * job.epochs


def accuracy(model: torch.nn.Module, rows: Rows) -> float:
    """On the dev rows, in float32, by length so that it takes little time."""
    model = model.float().eval()
    order = sorted(range(len(rows)), key=lambda row: len(rows.ids[row]))
    right = 0
    with torch.inference_mode():
        for start in range(0, len(order), 64):
            batch = pad([rows[row] for row in order[start : start + 64]])
            labels = batch.pop("labels")
            right += int((model(**batch).logits.argmax(-1) == labels).sum())
    return right / len(rows)
