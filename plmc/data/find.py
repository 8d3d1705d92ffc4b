"""Finds a task's folder and files below `data.root`, and says what is there when it does not."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

from plmc.errors import ConfigError, DataError

_ENDINGS = ("", ".gz")


def data_root(root: str | None) -> Path:
    """`data.root` as a folder that exists. Raises ConfigError if it is not set, DataError if it is not there."""
    if not root:
        raise ConfigError(
            "data=local needs a folder: data.root=DIR (the one that holds SST-2/, MRPC/, ... or glue/, squad/)."
        )
    path = Path(root).expanduser()
    if not path.is_dir():
        near = _near(path.name, path.parent) if path.parent.is_dir() else ""
        raise DataError(f"data.root={root}: there is no such folder{near}.")
    return path


def task_folder(root: Path, name: str, collection: str) -> Path:
    """The folder `name` in `root`, in `root/collection`, or `root` itself; capitals do not matter."""
    if root.name.lower() == name.lower():
        return root
    for base in (root, root / collection):
        for entry in _folders(base):
            if entry.name.lower() == name.lower():
                return entry
    raise DataError(f"No folder {name} in {root} or {root / collection}{_near(name, root, root / collection)}.")


def named_file(name: str, folders: Sequence[Path]) -> Path:
    """The file a user named with `data.files`: an absolute path, or relative to the first folder that has it."""
    for folder in folders:
        path = folder / Path(name).expanduser()
        if path.is_file():
            return path
    places = ", ".join(map(str, folders))
    raise DataError(f"data.files names {name}, which is not in {places}{_files_in(folders[0])}")


def split_file(folder: Path, split: str, names: Sequence[str], pattern: str, ignore: Sequence[str] = ()) -> Path | None:
    """The first of `names` (plain, then .gz), else the one file that matches `pattern`; None if there is none.

    Raises DataError if several files match.
    """
    for name in names:
        for ending in _ENDINGS:
            if (folder / (name + ending)).is_file():
                return folder / (name + ending)
    found = sorted(path for ending in _ENDINGS for path in folder.glob(pattern + ending) if path.name not in ignore)
    if len(found) > 1:
        listed = ", ".join(path.name for path in found)
        raise DataError(
            f"{folder} has no {names[0]}, but several that could be meant: {listed}. "
            f"Choose one: data.files.{split}={found[0].name}"
        )
    return found[0] if found else None


def check_splits(files: Mapping[str, str], splits: Sequence[str], task: str) -> None:
    """Raises ConfigError if `data.files` names a split that the task does not have."""
    for split in files:
        if split not in splits:
            raise ConfigError(f"data.files.{split}: {task} has no such split. Its splits are {', '.join(splits)}.")


def nothing_found(folder: Path, looked_for: Sequence[str]) -> DataError:
    """The error for a folder that holds none of the files of a task."""
    return DataError(f"{folder} holds none of {', '.join(looked_for)}{_files_in(folder)}")


def _folders(base: Path) -> list[Path]:
    return sorted(entry for entry in base.iterdir() if entry.is_dir()) if base.is_dir() else []


def _near(name: str, *bases: Path) -> str:
    names = {entry.name.lower(): entry.name for base in bases for entry in _folders(base)}
    close = [names[key] for key in difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)]
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; folders there: {', '.join(sorted(names.values())[:12]) or 'none'}"


def _files_in(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_file()) if folder.is_dir() else []
    return f"; files there: {', '.join(names[:12]) or 'none'}. Name one with data.files.train=FILE."
