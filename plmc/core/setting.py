"""Facts a method may ask for while it is checked and built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from plmc.core.clock import Clock
    from plmc.core.method import Method
    from plmc.core.rows import Split, TaskData
    from plmc.heads.base import Head


@dataclass(frozen=True)
class Dims:
    """Shape of an encoder: `layers` blocks, hidden width `width`, `heads` heads, `intermediate` feed-forward width."""

    layers: int
    width: int
    heads: int
    intermediate: int
    vocabulary: int


@dataclass(frozen=True)
class Setting:
    """What surrounds a method. At check time only shapes are known: `teacher_model`, `tokenizer`, `data` are None.

    `stage`: name of the stage. `head`: the kind of task. `student`, `teacher`: shapes (teacher None without one).
    `clock`: the clock of the stage at step 0 (None while the number of rows is unknown). `seed`: the run's seed.
    `methods`: all methods of the stage by name, listed order. `cache`: folder for derived data, shared by all runs.
    `encode`: turns raw rows (a `datasets.Dataset`) into a tokenised `Split`, as the task does for its own rows.
    `rows`: text columns of the task. `progress`: `progress(iterable, label, total)` shows a bar.
    """

    stage: str
    head: Head
    seed: int
    student: Dims
    teacher: Dims | None = None
    clock: Clock | None = None
    methods: Mapping[str, Method] = field(default_factory=dict)
    text_columns: tuple[str, ...] = ()
    teacher_model: nn.Module | None = None
    mlm_source: str | None = None
    tokenizer: Any = None
    data: TaskData | None = None
    encode: Callable[..., Split] | None = None
    cache: Path | None = None
    progress: Callable[..., Any] | None = None
