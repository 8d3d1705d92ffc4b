"""What all tests share: a tokenizer made in memory, and the folder of real data where there is one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from plmc.testing import stage

# Tiny models: more threads only wait for each other, above all when several workers share the cores.
torch.set_num_threads(1)

_CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real GLUE and SQuAD files: the folder `PLMC_SHARED`, or `../shared/data` beside the checkout."""
    folder = Path(os.environ.get("PLMC_SHARED") or _CHECKOUT.parent / "shared" / "data")
    if not (folder / "glue").is_dir():
        pytest.skip(f"no real data: {folder}/glue is missing; set PLMC_SHARED to a folder with glue/ and squad/")
    return folder


@pytest.fixture(scope="session")
def tiny_tokenizer():
    """See `plmc.testing.stage.tiny_tokenizer`."""
    return stage.tiny_tokenizer()
