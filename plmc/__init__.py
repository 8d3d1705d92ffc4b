"""plmc: compress pre-trained language models with published methods that compose."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plmc.core.chain import Chain
    from plmc.core.method import Method
    from plmc.core.stage import Stage
    from plmc.run.program import bench, load, predict, train

__version__ = "0.1.0"
__all__ = ["Chain", "Method", "Stage", "bench", "load", "predict", "train"]

_PLACES = {
    "Chain": "plmc.core.chain",
    "Method": "plmc.core.method",
    "Stage": "plmc.core.stage",
    "bench": "plmc.run.program",
    "load": "plmc.run.program",
    "predict": "plmc.run.program",
    "train": "plmc.run.program",
}


def __getattr__(name: str) -> Any:
    # Imported when asked for: the command line must not pay for torch to print its help.
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'plmc' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
