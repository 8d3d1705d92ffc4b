"""Checkpoints: written so that a crash cannot spoil them, read with weights only."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from plmc.errors import DamagedCheckpoint, TrainingError
from plmc.files import replacing


def save(path: Path, state: Mapping[str, Any], *, signature: str) -> None:
    """Tensors and plain values to one file, atomically."""
    with replacing(path) as temporary:
        try:
            torch.save({"signature": signature, "state": dict(state)}, temporary)
        except RuntimeError as error:  # torch reports a failed write (a full disk, above all) as RuntimeError
            raise OSError(str(error).splitlines()[0]) from error


def load(path: Path, *, signature: str) -> dict[str, Any]:
    """Inverse of `save`. Raises DamagedCheckpoint for a damaged file, TrainingError for one of another
    configuration."""
    try:
        _verify(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        found, state = content["signature"], content["state"]
    except Exception as error:  # a damaged file makes the unpickler raise any error; the way out is the same
        reason = str(error).splitlines()[0] if str(error) else "no text"
        raise DamagedCheckpoint(
            f"checkpoint {path} is damaged ({type(error).__name__}: {reason}). The same command trains this stage "
            "again."
        ) from error
    if found != signature:
        raise TrainingError(
            f"checkpoint {path} belongs to another configuration ({found}, this run is {signature}). "
            f"Delete it, or use another output_dir."
        )
    return state


def verify(path: Path) -> None:
    """Raises DamagedCheckpoint if the file is missing or its bytes are not those that were written."""
    try:
        _verify(path)
    except Exception as error:  # a damaged archive has many ways to fail
        raise DamagedCheckpoint(
            f"checkpoint {path} is damaged ({error}). The same command trains this stage again."
        ) from error


def _verify(path: Path) -> None:
    # torch writes a checksum for every entry of its archive, and reads without looking at them.
    with zipfile.ZipFile(path) as archive:
        if wrong := archive.testzip():
            raise zipfile.BadZipFile(f"the checksum of {wrong} does not fit")


def set_aside(path: Path) -> None:
    """Takes a damaged file out of the way, under a name that says what it is."""
    if path.exists():
        os.replace(path, path.with_name(f"{path.name}.damaged"))


def random_state() -> dict[str, Any]:
    """The state of torch's generators (CPU and every GPU)."""
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}


def restore_random(state: Mapping[str, Any]) -> None:
    """Inverse of `random_state`."""
    torch.set_rng_state(state["cpu"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
