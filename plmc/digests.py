"""Proof that what is read is what was written: SHA-256 of files in records, and of a record in the record itself.

A run keeps the digests of its files in `result.json`, an export in `plmc_export.json`, a cache in `digests.json`. Files
and records without a digest (older runs, models from elsewhere) are taken as they are.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from plmc.errors import DamagedFile

OWN, FILES, CACHE = "sha256", "files", "digests.json"
"""The key of a record's own digest, the key of those of its files, and the record of a cache folder."""
TRAIN = "Train it again: its command with force=true."
EXPORT = "Export it again: plmc export … --force."
_SIDE = ".sha256"
_RECORDS = (CACHE, "plmc_export.json", "result.json")
_BLOCK = 1 << 20
# Seconds after which a file's time of change tells whether it has changed since; clocks of file systems are coarse.
_SETTLED = 2.0
_read: dict[tuple[str, int, int, int], str] = {}


def of_file(path: str | Path) -> str:
    """SHA-256 of a file's content, 64 hex digits.

    A process reads a file once for as long as its size and time of change stay as they are: a sweep resolves the same
    models for every job, and a run opens a model for its config, tokenizer and weights.
    """
    facts = os.stat(path)
    key = (os.path.abspath(path), facts.st_size, facts.st_mtime_ns, facts.st_ino)
    if key in _read:
        return _read[key]
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    if time.time() - facts.st_mtime > _SETTLED:
        _read[key] = found.hexdigest()
    return found.hexdigest()


def of_files(folder: Path, patterns: Iterable[str]) -> dict[str, str]:
    """Digests of the files in `folder` that the glob patterns match, by path relative to it. README.md is people's."""
    paths = {
        path for pattern in patterns for path in folder.glob(pattern) if path.is_file() and path.name != "README.md"
    }
    return {path.relative_to(folder).as_posix(): of_file(path) for path in sorted(paths)}


def stamped(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with its own digest as last entry."""
    bare = {key: value for key, value in record.items() if key != OWN}
    return bare | {OWN: _of_record(bare)}


def read(path: Path) -> dict[str, Any]:
    """A record from disk, without its digest. Raises DamagedFile, which says what is wrong but not what to do."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DamagedFile(f"{path} is damaged ({str(error).splitlines()[0]}).") from error
    if not isinstance(record, dict):
        raise DamagedFile(f"{path} is damaged (it holds no record).")
    own = record.pop(OWN, None)
    if own is not None and own != _of_record(record):
        raise DamagedFile(f"{path} is damaged (its content does not fit its own {OWN}).")
    return record


def read_config(folder: Path) -> dict[str, Any]:
    """The `config.yaml` of a run's folder. Raises DamagedFile."""
    import yaml

    # The C parser is ten times as fast; not every PyYAML is built with it.
    loader, path = getattr(yaml, "CSafeLoader", yaml.SafeLoader), folder / "config.yaml"
    check(folder, path.name)
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), loader)
    except (ValueError, yaml.YAMLError) as error:
        raise DamagedFile(f"{path} is damaged ({str(error).splitlines()[0]}). {TRAIN}") from error
    if not isinstance(config, dict):
        raise DamagedFile(f"{path} is damaged (it holds no mapping). {TRAIN}")
    return config


def seal(folder: Path) -> None:
    """Leaves the digests of all files of a cache folder in it."""
    record = stamped({FILES: of_files(folder, ["*"])})
    (folder / CACHE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def seal_file(path: Path, draft: Path) -> None:
    """Leaves the digest of `draft`, a cache file that is about to be renamed to `path`, next to it."""
    path.with_name(path.name + _SIDE).write_text(of_file(draft) + "\n", encoding="utf-8")


def file_fault(path: Path) -> str | None:
    """What is wrong with a cache file that `seal_file` knows; None if nothing is."""
    side = path.with_name(path.name + _SIDE)
    if side.is_file() and side.read_bytes() != f"{of_file(path)}\n".encode():
        return f"{path} is damaged: it is not what plmc wrote there."
    return None


def fault(folder: Path, *names: str) -> str | None:
    """What is wrong with the files of `folder` by the record that knows them, in a sentence; None if nothing is.

    `names`: only these files. The record is in the folder or, for the `model` of a run, in the folder above.
    """
    known = _record(folder)
    if known is None:
        return None
    place, below = known
    try:
        files = read(place).get(FILES) or {}
    except DamagedFile as error:
        return str(error)
    asked = {
        name: wanted
        for name, wanted in files.items()
        if name.startswith(below) and (not names or name.removeprefix(below) in names)
    }
    return differs(place.parent, asked)


def differs(folder: Path, files: Mapping[str, str]) -> str | None:
    """The first of `files` (digests by path below `folder`) that is not as it was, in a sentence; None if all are."""
    for name, wanted in files.items():
        path = folder / name
        if not path.is_file():
            return f"{path} is missing."
        if of_file(path) != wanted:
            return f"{path} is damaged: it is not what plmc wrote there."
    return None


def check(folder: Path, *names: str) -> None:
    """Raises DamagedFile, with the way out, for a `fault`."""
    folder = Path(folder)
    if text := fault(folder, *names):
        known = _record(folder)
        again = TRAIN if known and known[0].name == "result.json" else EXPORT
        raise DamagedFile(
            f"{text} {again} If you changed it on purpose, copy {folder} to another place and use the copy."
        )


def _record(folder: Path) -> tuple[Path, str] | None:
    """The record that speaks of the files in `folder`, and what their names begin with there."""
    for name in _RECORDS:
        if (folder / name).is_file():
            return folder / name, ""
    above = folder.parent / "result.json"
    ours = above.is_file() and (folder.parent / "config.yaml").is_file()
    return (above, f"{folder.name}/") if ours else None


def _of_record(record: Mapping[str, Any]) -> str:
    # As it is after a round trip: keys are strings, tuples are lists.
    plain = json.loads(json.dumps(record))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
