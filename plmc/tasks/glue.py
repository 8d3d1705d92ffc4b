"""The nine tasks of GLUE and its diagnostic set (Wang et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from plmc.data.glue import GLUE
from plmc.data.glue_files import glue_files, load_glue
from plmc.errors import ConfigError
from plmc.heads.base import Head
from plmc.heads.classification import RegressionHead
from plmc.tasks.text import TextTask

if TYPE_CHECKING:
    from pathlib import Path

    import datasets

    from plmc.data.hub import Hub
    from plmc.data.local import Local


@dataclass(frozen=True, kw_only=True)
class Glue(TextTask):
    """A classification task of GLUE; `name` decides everything but `metric` and `max_length`.

    Raises ConfigError for an unknown name, other labels, or a metric that is not official for the task.
    """

    metric: str = ""

    def __post_init__(self) -> None:
        if self.name not in GLUE:
            raise ConfigError(f"{self.name!r} is not a task of GLUE. Choose one of {', '.join(GLUE)}.")
        facts = GLUE[self.name]
        if self.head.has_classes != bool(facts.labels):
            right = "Glue" if facts.labels else "GlueRegression"
            raise ConfigError(f"{self.name} is built with plmc.tasks.glue.{right}, not {type(self).__name__}.")
        if self.labels and tuple(self.labels) != facts.labels:
            raise ConfigError(f"{self.name}: GLUE fixes the labels to {list(facts.labels)}; remove task.labels.")
        if self.metric and self.metric not in facts.metrics:
            raise ConfigError(f"task.metric={self.metric}: {self.name} is measured by {' and '.join(facts.metrics)}.")
        # The way to fill in a frozen dataclass.
        object.__setattr__(self, "labels", facts.labels)
        object.__setattr__(self, "metric", self.metric or facts.metrics[0])

    @property
    def metrics(self) -> tuple[str, ...]:
        return GLUE[self.name].metrics

    @property
    def text(self) -> tuple[str, ...]:
        return ("text_a", "text_b")[: len(GLUE[self.name].columns)]

    @property
    def hub_dataset(self) -> str:
        return "nyu-mll/glue"

    def from_hub(self, source: Hub) -> dict[str, datasets.Dataset]:
        return source.glue(self)

    def files(self, source: Local) -> dict[str, Path]:
        return glue_files(source.folder, self, source.named)

    def from_files(self, source: Local) -> dict[str, datasets.Dataset]:
        return load_glue(source.folder, self, source.named)


@dataclass(frozen=True, kw_only=True)
class GlueRegression(Glue):
    """STS-B: the similarity of two sentences, a score from 0 to 5."""

    head: ClassVar[Head] = RegressionHead()
