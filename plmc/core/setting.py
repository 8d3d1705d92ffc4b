"""Facts a method may ask for while it is checked and built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    """What surrounds a method while it is checked, before anything is downloaded.

    Attributes:
        stage: name of the stage.
        head: the kind of its task.
        seed: the run's.
        student: its shape, as the methods before leave it.
        teacher: its shape; None without one; of several the first one's.
        teachers: the names of the stage's teachers.
        clock: of the stage at step 0; None while the number of rows is unknown.
        methods: all methods of the stage by name, in listed order.
        text_columns: of the task's rows.
        mlm_source: name or folder of the pre-trained model behind the teacher; None without one.
    """

    stage: str
    head: Head
    seed: int
    student: Dims
    teacher: Dims | None = None
    clock: Clock | None = None
    methods: Mapping[str, Method] = field(default_factory=dict)
    text_columns: tuple[str, ...] = ()
    mlm_source: str | None = None
    teachers: tuple[str, ...] = ("teacher",)

    @property
    def shape(self) -> Dims:
        """`teacher`, for a method that learns from one. Raises TypeError without one."""
        if self.teacher is None:
            raise TypeError("this stage has no teacher")
        return self.teacher


@dataclass(frozen=True, kw_only=True)
class Building(Setting):
    """What surrounds a method while the stage is built: rows and models are at hand.

    Attributes:
        data: tokenised rows of the stage.
        tokenizer: the student's.
        encode: `encode(rows, training=...)` tokenises raw rows (a `datasets.Dataset`) as the task does its own.
        teacher_model: the teacher itself; None where no method of the stage looks at one.
        cache: folder of derived data, shared by all runs; None: nothing is kept.
        progress: `progress(iterable, label, total)` shows a bar; None: no bar.
    """

    data: TaskData
    tokenizer: Any
    encode: Callable[..., Split]
    teacher_model: Any = None
    cache: Path | None = None
    progress: Callable[..., Any] | None = None
