"""A task with its own rows: which topics does a made-up sentence touch?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from plmc.core.fields import Count
from plmc.data.source import Source
from plmc.heads.base import Head
from plmc.tasks.base import Task
from plmc.tasks.text import TextTask
from plmc_example.multi_label import MultiLabelHead

if TYPE_CHECKING:
    import datasets

WORDS = {
    "weather": "rain storm sunshine fog frost",
    "food": "bread soup cheese apples pasta",
    "travel": "train harbour ticket suitcase airport",
    "money": "loan price bank tax wages",
}
PEOPLE = "baker pilot teacher painter judge farmer nurse singer".split()
DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()


@dataclass(frozen=True, kw_only=True)
class Sentences(Source):
    """`train` and `validation` rows, the same for everybody: each sentence names one or two topics."""

    name: str = "sentences"
    train: int = 600
    validation: int = 200

    def load(self, task: Task) -> dict[str, datasets.Dataset]:
        from datasets import Dataset

        found, generator = {}, np.random.default_rng(0)
        for split, count in (("train", self.train), ("validation", self.validation)):
            marks = np.zeros((count, len(WORDS)), dtype=np.float32)
            texts = []
            for row in range(count):
                chosen = generator.choice(len(WORDS), size=generator.integers(1, 3), replace=False)
                marks[row, chosen] = 1
                said = [generator.choice(list(WORDS.values())[topic].split()) for topic in chosen]
                who, day, hour = generator.choice(PEOPLE), generator.choice(DAYS), generator.integers(1, 13)
                texts.append(f"on {day} at {hour} the {who} talked about {' and '.join(said)}")
            found[split] = Dataset.from_dict({"id": np.arange(count), "text_a": texts, "label": marks.tolist()})
        return found


@dataclass(frozen=True, kw_only=True)
class Topics(TextTask):
    """Labels are the keys of `WORDS`; metric: `micro_f1` over all pairs of row and label."""

    head: ClassVar[Head] = MultiLabelHead()
    metric: str = "micro_f1"
    max_length: Count = 32
    labels: tuple[str, ...] = tuple(WORDS)

    @property
    def text(self) -> tuple[str, ...]:
        return ("text_a",)

    @property
    def metrics(self) -> tuple[str, ...]:
        return ("micro_f1",)

    @property
    def own_source(self) -> Source:
        return Sentences()

    def labels_of(self, rows: datasets.Dataset) -> np.ndarray:
        return np.array(rows["label"], dtype=np.float32)

    def score(self, records: Sequence[Mapping[str, Any]], split: Any) -> dict[str, float]:
        from sklearn.metrics import f1_score

        said = np.array([[label in record["prediction"] for label in self.labels] for record in records])
        gold = np.array([record["label"] for record in records]) > 0.5
        return {"micro_f1": float(f1_score(gold, said, average="micro", zero_division=0.0))}
