"""The data source of the made-up world."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from plmc.core.fields import Count, Seed
from plmc.data.embedded.draw import draw
from plmc.data.embedded.makers import KINDS, MISMATCHED, PLAIN_SORTS, plain
from plmc.data.source import Source
from plmc.errors import ConfigError

CORPUS = 5_000, 500
"""Lines of running text to train and to judge on, unless told otherwise."""

if TYPE_CHECKING:
    import datasets

    from plmc.tasks.base import Task


@dataclass(frozen=True, kw_only=True)
class Embedded(Source):
    """A small made-up world that generates rows for the tasks of GLUE and SQuAD, offline and deterministically.

    For trying things out and for tests: a score on it says nothing about the data set of the same name. `seed` decides
    all rows and is independent of the run's seed; `train_rows`, `validation_rows`, `test_rows` are the sizes (None: the
    task's own; a shorter split is a prefix of a longer one). Combinations of content are held out: no validation or
    test text is a training text. Raises ConfigError for a task that the world does not know, and for more rows than it
    holds.
    """

    name: str = "embedded"
    seed: Seed = 0
    train_rows: Count | None = None
    validation_rows: Count | None = None
    test_rows: Count | None = None

    def __post_init__(self) -> None:
        for field in ("train_rows", "validation_rows", "test_rows"):
            rows = getattr(self, field)
            if rows is not None and rows < 1:
                raise ConfigError(
                    f"data.{field}={rows}: a split has at least one row. Leave it out for the default (null)."
                )

    def load(self, task: Task) -> dict[str, datasets.Dataset]:
        return task.made_up(self)

    def running_text(self) -> dict[str, datasets.Dataset]:
        """Lines of text, in the splits `train` and `validation`."""
        train, held_out = self.train_rows or CORPUS[0], self.validation_rows or CORPUS[1]
        lines = {"train": self.corpus(train), "validation": self.corpus(held_out, role="validation")}
        return {split: _dataset({"id": list(range(len(text))), "text_a": text}) for split, text in lines.items()}

    def rows_of(self, name: str) -> dict[str, datasets.Dataset]:
        """Splits `train`, `validation` and `test` of a task; MNLI also `validation_mismatched`, from another
        vocabulary."""
        if name not in KINDS:
            raise ConfigError(
                f"data=embedded knows no task '{name}'. It makes up rows for {', '.join(KINDS)}; for any other "
                f"task use data=hub or data=local."
            )
        kind = KINDS[name]
        plan = [
            ("train", "train", kind, self.train_rows or kind.train),
            ("validation", "validation", kind, self.validation_rows or kind.validation),
            ("test", "test", kind, self.test_rows or kind.test),
        ]
        if name in MISMATCHED:
            plan.insert(2, ("validation_mismatched", "validation", MISMATCHED[name], plan[1][3]))
        splits = {}
        for split, role, how, count in plan:
            stream = f"{name}/{split}"
            splits[split] = _dataset(
                draw(how.make, classes=how.classes, count=count, seed=self.seed, stream=stream, role=role)
            )
        return splits

    def corpus(self, n_sentences: int, role: str = "train") -> list[str]:
        """Unlabelled text for language modelling or general distillation, one or two sentences an entry.

        Each sort of text is drawn from the contents that its task trains on, or those of its `validation` rows
        (`role`).
        """
        if n_sentences < 1:
            raise ConfigError(f"corpus of {n_sentences} sentences: ask for at least one.")
        stream = "corpus" if role == "train" else f"corpus/{role}"
        rows = draw(plain, classes=PLAIN_SORTS, count=n_sentences, seed=self.seed, stream=stream, role=role)
        return rows["text_a"]


def _dataset(columns: dict[str, list[Any]]) -> datasets.Dataset:
    """Columns with the types that `Source.load` promises."""
    import datasets
    from datasets import Features, List, Value

    types: dict[str, Any] = {name: Value("string") for name in columns}
    types["id"] = Value("int64")
    if "label" in columns:
        types["label"] = Value("float32" if isinstance(columns["label"][0], float) else "int64")
    if "answers" in columns:
        types["answers"] = {"text": List(Value("string")), "answer_start": List(Value("int64"))}
    return datasets.Dataset.from_dict(columns, features=Features(types))
