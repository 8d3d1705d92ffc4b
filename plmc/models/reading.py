"""Reading of model files by the libraries: their errors in one message, their remarks left out."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from plmc.errors import ConfigError, PlmcError, short_of_memory

PART = "part.json"
"""The file of a folder that holds the trained part of a model (`plmc.models.part`)."""


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Turns what the libraries raise for missing or damaged files into one message."""
    try:
        yield
    except (PlmcError, MemoryError):
        raise
    except (
        Exception
    ) as error:  # what damaged files make the libraries raise is of every kind; tokenizers' is a bare Exception
        if short_of_memory(error):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"model {name} cannot be read: {reason}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Without the library's warnings and progress bars."""
    # A fresh task head is what is wanted; the library's warning about it is noise here.
    from transformers.utils import logging as hf_logging

    level, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity(logging.ERROR)
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)
        if bars:
            hf_logging.enable_progress_bar()
