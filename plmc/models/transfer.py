"""The same encoder under another head."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch

from plmc.errors import ConfigError
from plmc.models import encoder, load

if TYPE_CHECKING:
    from plmc.tasks.base import Task


def same_head(first: Task, second: Task) -> bool:
    """Whether a model for the first task answers the second with the head that it has."""
    if (first.head.kind, *first.labels) != (second.head.kind, *second.labels):
        return False
    # Classes are a task's own; places in a text and words of a vocabulary are not.
    return not first.labels or first.name == second.name


def change_head(model: Any, task: Task, *, seed: int) -> torch.nn.Module:
    """The same encoder with a fresh head for `task`, drawn under `seed`; a pooler that the model carries goes along."""
    target = load.from_config(copy.deepcopy(model.config), task, seed=seed)
    move_encoder(model, target)
    task.head.moved(model, target)
    return target.train()


@torch.no_grad()
def move_encoder(source: Any, target: Any) -> None:
    """Copies the encoder's weights, the pooler's where both have one; the head of `target` stays as it is."""
    there = encoder.base(target).state_dict()
    missing = [
        name for name in encoder.base(source).state_dict() if name not in there and not name.startswith("pooler.")
    ]
    if missing:
        raise ConfigError(
            f"{type(target).__name__} has no {missing[0]}: the encoders differ. Change no shapes between heads."
        )
    encoder.base(target).load_state_dict(encoder.base(source).state_dict(), strict=False)
