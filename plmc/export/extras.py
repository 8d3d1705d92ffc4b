"""Packages that only exports need: imported when they are, or an error that names the extra."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from plmc.errors import ConfigError

EXTRAS = {"onnx": "export", "onnxruntime": "export", "onnxscript": "export", "zstandard": "export"}
EXTRAS |= {"openvino": "openvino", "nncf": "openvino", "torchao": "torchao"}


def check(packages: Iterable[str]) -> None:
    """Raises ConfigError with the pip command for the first of `packages` that is not installed; imports none of
    them."""
    for package in packages:
        if package in sys.modules and sys.modules[package] is None or find_spec(package) is None:
            raise ConfigError(_missing(package))


def hush_torchao() -> None:
    """For a process: transformers imports torchao wherever it is installed, which tells of every GPU kernel it cannot
    load."""
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _missing(package: str) -> str:
    return (
        f"this export needs the package {package}, which cannot be imported here: pip install 'plmc[{EXTRAS[package]}]'"
    )


def need(name: str) -> ModuleType:
    """The module `name`, such as `onnxruntime.quantization`. Raises ConfigError with the pip command if it is
    missing."""
    package = name.partition(".")[0]
    try:
        import_module(package)
    except ImportError as error:
        raise ConfigError(f"{_missing(package)} ({error})") from error
    return import_module(name)
