"""What the processes that train a stage decide together, and what they draw apart."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import nn

from plmc.errors import TrainingError
from plmc.world import World

_STREAM = 2
"""Keeps these draws apart from others made of the same numbers."""


def own_noise(world: World, *key: int) -> None:
    """Has each process but the first draw numbers of its own from now on: each row has another dropout, wherever it is
    computed. The first one draws as if it were alone."""
    if not world.first:
        seed = np.random.SeedSequence([*key, world.rank, _STREAM]).generate_state(1, np.uint64)[0]
        torch.manual_seed(int(seed >> np.uint64(1)))


def decided(world: World, stop: KeyboardInterrupt | None, due: bool) -> tuple[KeyboardInterrupt | None, bool]:
    """Whether to stop, which any process may be told to, and whether to save, which the first one's clock says."""
    if world.size == 1:
        return stop, due
    asked = torch.tensor([stop is not None, due and world.first], dtype=torch.int32)
    world.join(asked, "max")
    return (stop or KeyboardInterrupt()) if asked[0] else None, bool(asked[1])


def compare(module: nn.Module, world: World, moment: str) -> None:
    """Raises TrainingError if the processes do not hold the same weights at this moment."""
    if world.size == 1:
        return
    digest = hashlib.sha256()
    for value in module.state_dict().values():
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    if len(set(world.gather(digest.hexdigest()))) > 1:
        raise TrainingError(
            f"{moment} with other weights in one process than in another. This is a fault of plmc or of a method, "
            "please report it. processes=1 trains it."
        )
