"""GLUE and SQuAD from the Hugging Face Hub or its local cache."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np

from plmc.core.fields import Added
from plmc.data.glue import GLUE
from plmc.data.reach import hub_reachable, stay_local
from plmc.data.snapshots import explained
from plmc.data.source import Source
from plmc.data.squad_json import questions
from plmc.errors import ConfigError, DataError, HubUnreachable, short_of_memory

if TYPE_CHECKING:
    import datasets

    from plmc.tasks.base import Task

CORPUS = "Salesforce/wikitext:wikitext-103-raw-v1"
"""The text of task=mlm unless task.corpus names another."""
_SPLITS = {"validation_matched": "validation", "test_matched": "test"}


@dataclass(frozen=True, kw_only=True)
class Hub(Source):
    """Loads nyu-mll/glue, rajpurkar/squad and rajpurkar/squad_v2 with `datasets.load_dataset`.

    Raises HubUnreachable if the Hub does not answer and the data are not in the local cache.

    Attributes:
        revision: a branch, tag or commit of the data set.
    """

    name: str = "hub"
    revision: Annotated[str | None, Added(None)] = None

    def load(self, task: Task) -> dict[str, datasets.Dataset]:
        return task.from_hub(self)

    def glue(self, task: Task) -> dict[str, datasets.Dataset]:
        """The rows of a task of GLUE."""
        found = fetch(str(task.hub_dataset), task.name, self.revision)
        return {_SPLITS.get(split, split): _glue_rows(rows, task) for split, rows in found.items()}

    def squad(self, task: Task) -> dict[str, datasets.Dataset]:
        """The rows of SQuAD in the version of `task`."""
        found = fetch(str(task.hub_dataset), revision=self.revision)
        return {split: _squad_rows(rows) for split, rows in found.items()}


_commits: dict[str, str] = {}


def commit(path: str) -> str | None:
    """The commit of a data set that this process has loaded, where the cache knows it."""
    return _commits.get(path)


def fetch(path: str, config: str | None = None, revision: str | None = None) -> Mapping[str, datasets.Dataset]:
    """`load_dataset(path, config)`, from the cache alone if the Hub does not answer. Raises HubUnreachable,
    ConfigError."""
    import datasets

    reason = hub_reachable()
    if reason:
        stay_local(reason)
    more = {"revision": revision} if revision else {}
    datasets.enable_progress_bars()  # a download shows how far it is
    try:
        with _offline() if reason else nullcontext():
            found = datasets.load_dataset(path, config, **more)
    except Exception as error:  # the clients let the errors of several libraries through
        if short_of_memory(error) or isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        if reason is None:
            why = explained(error, f"data set {path}", f"datasets/{path}")
            if isinstance(why, ConfigError):
                raise why from error
            reason = str(why)
        raise HubUnreachable(_way_out(path, config, reason)) from error
    finally:
        datasets.disable_progress_bars()
    for rows in found.values():
        # The cache keeps the rows of a commit in a folder of its name.
        places = " ".join(file["filename"] for file in rows.cache_files)
        if match := re.search(r"/([0-9a-f]{40})/", places):
            _commits[path] = match[1]
    return found


def _way_out(path: str, config: str | None, reason: str) -> str:
    wanted = path + (f" ({config})" if config else "")
    arguments = f"'{path}'" + (f", '{config}'" if config else "")
    return (
        f"{wanted} is not in the local cache, and the Hub cannot help: {reason}. Three ways out:\n"
        "  data=local data.root=DIR   read the files of the original release from a folder\n"
        "  data=embedded              made-up rows that come with plmc, for trying things out\n"
        "  HF_HUB_OFFLINE=1           with a filled cache: where there is a network, run\n"
        f'                             python -c "from datasets import load_dataset; load_dataset({arguments})"\n'
        "                             and copy ~/.cache/huggingface here (or point HF_HOME to the copy)"
    )


@contextmanager
def _offline() -> Iterator[None]:
    # load_dataset has no argument for this, and its own retries would take most of a minute.
    import datasets

    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def _glue_rows(rows: datasets.Dataset, task: Task) -> datasets.Dataset:
    from datasets import ClassLabel, Dataset

    labels = rows.features["label"]
    if isinstance(labels, ClassLabel) and tuple(labels.names) != task.labels:
        raise DataError(f"{task.name}: the Hub's classes are {labels.names}, plmc expects {list(task.labels)}.")
    table = rows.with_format("arrow")[:]
    columns = {"id": np.arange(len(rows), dtype=np.int64)}
    for target, name in zip(("text_a", "text_b"), GLUE[task.name].columns, strict=False):
        columns[target] = table.column(name)
    values = table.column("label").to_numpy()
    # The Hub writes -1 where the labels of a test split are hidden.
    if not np.all(values == -1):
        columns["label"] = values.astype(np.int64 if task.labels else np.float32)
    return Dataset.from_dict(columns)


def _squad_rows(rows: datasets.Dataset) -> datasets.Dataset:
    table = rows.with_format("arrow")[:]
    renamed = {"key": "id", "title": "title", "text_a": "question", "text_b": "context", "answers": "answers"}
    columns = {target: table.column(name) for target, name in renamed.items()}
    return questions({"id": np.arange(len(rows), dtype=np.int64), **columns})
