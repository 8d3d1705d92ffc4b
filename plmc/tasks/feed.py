"""One of the streams of rows that a stage trains on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from plmc.core.fields import Checked, Count, Positive
from plmc.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Feed(Checked):
    """Training rows of a task, or lines of running text without labels.

    Attributes:
        task: whose rows; None: the stage's own task. Its head is the stage's: the same kind and number of classes.
        corpus: a text file (plain or .gz) or several, `embedded`, or a Hub data set as `id`, `id:config` or
            `id:config:column`: one row a line, without labels.
        rows: the first so many lines of the corpus, or a fixed random part of the task's rows; None: all.
        share: of the updates' rows, relative to the other feeds; None: as many as there are.
    """

    config_label: ClassVar[str] = "feed"

    task: Any = None
    corpus: str | Sequence[str] | None = None
    rows: Count | None = None
    share: Positive | None = None

    def __post_init__(self) -> None:
        if self.task is not None and self.corpus is not None:
            raise ConfigError("a feed has a task or a corpus, not both. Make it two feeds.")
        if self.share is not None and self.share <= 0:
            raise ConfigError(f"share={self.share:g} must be greater than 0; leave a feed out with feeds.NAME=null")
