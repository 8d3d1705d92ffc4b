"""Checkpoints that a crash cannot spoil: written beside, flushed, renamed; read with weights only."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch

from plmc import digests
from plmc.errors import DamagedCheckpoint, TrainingError


@contextmanager
def replacing(path: Path):
    """Yields a temporary path in the same folder; on success it is flushed to disk and renamed to `path`.

    A folder that is there already is first moved aside whole, so `path` is the old one, absent, or the new one. Files are as
    readable as the process's umask says, whatever wrote them.
    """
    temporary, old = (path.with_name(f".{path.name}.{os.getpid()}.{end}") for end in ("tmp", "old.tmp"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_drafts(path.parent, f".{path.name}.*.tmp")
        yield temporary
        if temporary.is_dir():
            for file in temporary.rglob("*"):
                _share(file)
                _flush(file)
            if path.exists():
                os.rename(path, old)
        _share(temporary)
        _flush(temporary)
        os.replace(temporary, path)
        _flush(path.parent)
    except OSError as error:
        there = next(folder for folder in path.absolute().parents if folder.is_dir())
        free = shutil.disk_usage(there).free
        raise TrainingError(
            f"{path} could not be written: {error.strerror or error} ({free / 1e6:.0f} MB free). Nothing that was finished is "
            f"lost: make room and give the same command again."
        ) from error
    finally:
        for draft in (temporary, old):
            _remove(draft)


def remove_drafts(folder: Path, pattern: str = ".*.tmp") -> None:
    """Removes what killed processes left half-written in `folder`; drafts of living processes stay."""
    for draft in folder.glob(pattern):
        process = draft.name.removesuffix(".tmp").removesuffix(".old").rpartition(".")[2]
        # Process numbers come round again, in containers at once: a draft of our own number is not ours yet.
        if process.isdigit() and (int(process) == os.getpid() or not psutil.pid_exists(int(process))):
            _remove(draft)


def _remove(draft: Path) -> None:
    if draft.is_dir():
        shutil.rmtree(draft, ignore_errors=True)
    elif draft.exists():
        draft.unlink(missing_ok=True)


def _share(path: Path) -> None:
    """safetensors writes files that nobody but their owner can read."""
    if path.is_file():
        mask = os.umask(0)
        os.umask(mask)
        path.chmod(0o666 & ~mask)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Text, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_record(path: Path, value: Mapping[str, Any]) -> None:
    """JSON with its own digest, atomically; see `plmc.digests.read`."""
    write_json(path, digests.stamped(value))


def save(path: Path, state: Mapping[str, Any], *, signature: str) -> None:
    """Tensors and plain values to one file, atomically."""
    with replacing(path) as temporary:
        try:
            torch.save({"signature": signature, "state": dict(state)}, temporary)
        except RuntimeError as error:  # torch reports a failed write (a full disk, above all) as RuntimeError
            raise OSError(str(error).splitlines()[0]) from error


def load(path: Path, *, signature: str) -> dict[str, Any]:
    """Inverse of `save`. Raises DamagedCheckpoint for a damaged file, TrainingError for one of another configuration."""
    try:
        _verify(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        found, state = content["signature"], content["state"]
    except Exception as error:  # whatever a damaged file makes the unpickler raise, the user's way out is the same
        reason = str(error).splitlines()[0] if str(error) else "no text"
        raise DamagedCheckpoint(
            f"checkpoint {path} is damaged ({type(error).__name__}: {reason}). The same command trains this stage again."
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
        raise DamagedCheckpoint(f"checkpoint {path} is damaged ({error}). The same command trains this stage again.") from error


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
