"""Ways to damage a file, as disks, copies and people do."""

from __future__ import annotations

from pathlib import Path


def truncated(path: Path) -> None:
    """The first two thirds."""
    data = path.read_bytes()
    path.write_bytes(data[: 2 * len(data) // 3])


def one_bit_flipped(path: Path) -> None:
    """One bit in the middle: of a text the lowest bit of a digit, where there is one, so that it still reads well."""
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    digits = [i for i in range(middle, len(data)) if data[i : i + 1].isdigit()] if _is_text(path) else []
    data[digits[0] if digits else middle] ^= 1
    path.write_bytes(data)


def empty(path: Path) -> None:
    """Nothing."""
    path.write_bytes(b"")


def other_content(path: Path) -> None:
    """Something well-formed of another kind."""
    path.write_text("[1, 2, 3]\n" if _is_text(path) else "these are not the bytes you are looking for\n" * 20)


WAYS = {way.__name__: way for way in (truncated, one_bit_flipped, empty, other_content)}


def _is_text(path: Path) -> bool:
    return path.suffix in (".json", ".jsonl", ".yaml", ".txt", ".md", ".sha256", ".lock")
