"""Answers of a model for texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from plmc.errors import ConfigError
from plmc.heads.find import task_head
from plmc.models.load import load_config, load_tokenizer, load_whole


def whole_model(folder: Path) -> Any:
    """The model in `folder` with the head that its config names."""
    return load_whole(task_head(load_config(str(folder))).auto_class(), str(folder))


def answerer(folder: Path, task: Any = None) -> Callable[[Sequence[tuple[str, ...]]], list[dict[str, Any]]]:
    """A function from rows (one or two texts each) to dicts, for the model in `folder`, trained on `task` where
    known."""
    model, tokenizer = whole_model(folder), load_tokenizer(str(folder))
    head, config = task.head if task else task_head(model.config), model.config
    # As it was trained and judged; else as long as it can read.
    longest = task.max_length if task else min(tokenizer.model_max_length, config.max_position_embeddings, 512)

    def answers(rows: Sequence[tuple[str, ...]]) -> list[dict[str, Any]]:
        sizes = {len(row) for row in rows}
        if task and not head.per_token and len(sizes) == 1 and sizes != {len(task.text)}:
            wanted = "one text" if len(task.text) == 1 else "two texts"
            raise ConfigError(f"this model was trained on {task.name}: give {wanted} a row, not {sizes.pop()}.")
        return head.answers(model, tokenizer, rows, longest)

    return answers
