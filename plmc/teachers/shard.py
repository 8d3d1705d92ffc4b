"""A frozen model whose weights are spread over the processes of a run."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from plmc.errors import ConfigError
from plmc.heads.base import Head
from plmc.models import encoder
from plmc.world import World


def refuse(head: Head, name: str) -> None:
    """Raises ConfigError for a head that runs parts of the model on their own, whose weights would not be there."""
    if head.over_vocabulary:
        raise ConfigError(
            f"teacher {name}: sharded=true is for teachers that answer rows, not hidden words. Set sharded=false"
        )


def spread(model: Any, device: torch.device, world: World) -> nn.Module:
    """Leaves each process its part of the model's weights, on `device`; a block's are brought together for its forward
    and let go again (FSDP2, Zhao et al. 2023, arXiv 2304.11277). All processes must run it equally often."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (world.size,))
    for module in (*encoder.layers(model), model):
        fully_shard(module, mesh=mesh, reshard_after_forward=True)
    found: nn.Module = model.to(device)
    return found
