"""Files that a crash cannot spoil: written under another name, flushed, renamed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from plmc import digests
from plmc.errors import TrainingError


@contextmanager
def replacing(path: Path):
    """Yields a temporary path in the same folder; on success it is flushed to disk and renamed to `path`.

    A folder that is there already is first moved aside whole, so `path` is the old one, absent, or the new one. Files
    are as readable as the process's umask says.
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
            f"{path} could not be written: {error.strerror or error} ({free / 1e6:.0f} MB free). Nothing that was "
            f"finished is lost: make room and give the same command again."
        ) from error
    finally:
        for draft in (temporary, old):
            _remove(draft)


def remove_drafts(folder: Path, pattern: str = ".*.tmp") -> None:
    """Removes what killed processes left half-written in `folder`; drafts of living processes stay."""
    import psutil

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


def copy(source: Path, target: Path) -> None:
    """A copy of a file or a folder, which is there whole or not at all."""
    with replacing(target) as draft:
        shutil.copytree(source, draft) if source.is_dir() else shutil.copy2(source, draft)


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
