"""What all parts of a running run share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from plmc.config.resolve import Run
from plmc.console import Console
from plmc.core.rows import TaskData
from plmc.teachers.make import Trained

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from plmc.track import LocalHistory, Tracker


@dataclass
class Session:
    """A run while it runs.

    Attributes:
        run: what is to be done.
        console: where it is shown.
        tracker: where curves and files go.
        device: where the student is trained.
        tokenizer: the student's. Stages may replace it, and the data that it made.
        data: tokenised rows of the run's task.
        started: seconds since 1970.
        trained: the models that its stages refer to, by `plmc.teachers.make.key`.
        teacher: the run's teacher on the run's task; None without one.
        processes: how many train it.
    """

    run: Run
    console: Console
    tracker: Tracker | LocalHistory
    device: torch.device
    tokenizer: PreTrainedTokenizerBase | Any
    data: TaskData
    started: float
    trained: dict[str, Trained] = field(default_factory=dict)
    teacher: Trained | None = None
    processes: int = 1
