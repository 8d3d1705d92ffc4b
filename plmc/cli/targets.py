"""Files that a verb is to write: refused before the work, not after it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from plmc.config.paths import check_place
from plmc.errors import ConfigError

PICTURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg")


def check_file(path: Path | None, option: str, endings: Sequence[str] = ()) -> None:
    """Raises ConfigError if `path` cannot be written: a folder, an ending other than `endings`, no place to make it
    in."""
    if path is None:
        return
    if not path.name or path.is_dir():
        example = path / f"name{(endings or ('',))[0]}"
        raise ConfigError(f"{option} {path}: this is a folder. Name a file in it: {option} {example}")
    if endings and path.suffix.lower() not in endings:
        raise ConfigError(f"{option} {path}: the ending must be one of {', '.join(endings)}.")
    check_place(path, option)
