"""What all parts of a running run share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from plmc.config.resolve import Run
from plmc.console import Console
from plmc.core.rows import TaskData
from plmc.teachers.make import FinetunedTeacher

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
        teacher: the fine-tuned teacher; None without one.
        language_model: the masked language model that teaches stages on running text.
    """

    run: Run
    console: Console
    tracker: Tracker | LocalHistory
    device: torch.device
    tokenizer: PreTrainedTokenizerBase | Any
    data: TaskData
    started: float
    teacher: FinetunedTeacher | None = None
    language_model: FinetunedTeacher | None = None
