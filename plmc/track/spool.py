"""An append-only file of events, one JSON object a line, with two marks of what has been sent.

Two lanes share the file and have a mark each: `values` (params, metrics, tags, inputs, status) and `files` (artifacts,
models), so that an artifact the server will not take holds up no metric.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from plmc.errors import TrainingError

FILES = frozenset({"artifact", "model"})
LANES = ("values", "files")

Event = dict[str, Any]


def lane_of(event: Event) -> str:
    """The lane of an event, by its `kind`."""
    return "files" if event["kind"] in FILES else "values"


class Spool:
    """Events of one run in `<folder>/events.jsonl`, marks in `<folder>/sent.json`. One process writes at a time.

    A line torn by a crash is cut off at opening. Marks are byte offsets, moved by rename after each sending, so a crash
    in between sends some events twice and none never.

    Raises:
        TrainingError: if an event cannot be written (full disk).
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.file = folder / "events.jsonl"
        self._marks_file = folder / "sent.json"
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        self._end = self._cut_torn_line()
        self.marks = read_marks(folder)
        self._unsent = {lane: sum(1 for _ in self.unsent(lane)) for lane in LANES}

    @property
    def pending(self) -> int:
        """Number of events that have not been sent."""
        return sum(self._unsent.values())

    def append(self, event: Event) -> None:
        """Writes the event to the file before it returns; a crash of the process cannot lose it any more."""
        line = (json.dumps(event, ensure_ascii=False, separators=(",", ":")) + "\n").encode()
        with self._lock:
            try:
                written = os.write(self._descriptor, line)
                if written < len(line):
                    raise OSError("the disk is full")
            except OSError as error:
                os.ftruncate(self._descriptor, self._end)
                raise TrainingError(
                    f"cannot write {self.file}: {error}. Free some space there; the same command resumes."
                ) from error
            self._end += len(line)
            self._unsent[lane_of(event)] += 1

    def events(self, offset: int = 0) -> Iterator[tuple[Event, int]]:
        """Events from a byte offset on, each with the offset behind it. Lines that are no JSON are skipped."""
        with self.file.open("rb") as lines:
            lines.seek(offset)
            for line in lines:
                offset += len(line)
                if not line.endswith(b"\n"):
                    return
                try:
                    event = json.loads(line)
                except ValueError:
                    continue
                yield event, offset

    def unsent(self, lane: str) -> Iterator[tuple[Event, int]]:
        """Events of a lane that have not been sent, oldest first, each with the mark to set once it has been."""
        for event, offset in self.events(self.marks[lane]):
            if lane_of(event) == lane:
                yield event, offset

    def mark(self, lane: str, offset: int, count: int) -> None:
        """`count` events of a lane, the last of which ends at `offset`, have been sent."""
        with self._lock:
            self._unsent[lane] -= count
            self.marks[lane] = offset
            # An empty lane's mark moves over the other's events too: marks at the end mean that all is sent.
            self.marks |= {name: self._end for name in LANES if self._unsent[name] == 0}
            self._write_marks()

    def rewind(self) -> None:
        """Forgets what has been sent: everything goes to a new place."""
        with self._lock:
            self.marks = dict.fromkeys(LANES, 0)
            self._write_marks()
            self._unsent = {lane: sum(1 for _ in self.unsent(lane)) for lane in LANES}

    def close(self) -> None:
        """Forces the events to disk and lets go of the file."""
        os.fsync(self._descriptor)
        os.close(self._descriptor)

    def _cut_torn_line(self) -> int:
        data = self.file.read_bytes()
        end = data.rfind(b"\n") + 1
        if end < len(data):
            os.ftruncate(self._descriptor, end)
        return end

    def _write_marks(self) -> None:
        write_json(self._marks_file, self.marks)


def read_marks(folder: Path) -> dict[str, int]:
    """The marks of a spool; never beyond the end of its events, which a power cut may have shortened.

    Marks that cannot be read, or lie within a line, are 0: everything is sent again, which changes nothing in the
    store.
    """
    events = folder / "events.jsonl"
    try:
        marks = json.loads((folder / "sent.json").read_text())
        size = events.stat().st_size
        found = {lane: max(0, min(int(marks[lane]), size)) for lane in LANES}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return dict.fromkeys(LANES, 0)
    return {lane: mark if _ends_a_line(events, mark) else 0 for lane, mark in found.items()}


def _ends_a_line(path: Path, offset: int) -> bool:
    if offset == 0:
        return True
    with path.open("rb") as file:
        file.seek(offset - 1)
        return file.read(1) == b"\n"


def all_sent(folder: Path) -> bool:
    """Whether nothing in this spool waits; cheap, it reads no event."""
    events = folder / "events.jsonl"
    return not events.exists() or set(read_marks(folder).values()) == {events.stat().st_size}


def write_json(path: Path, value: Any) -> None:
    """Writes a small file so that a reader sees the old or the new content, never half of it."""
    # Named by its process at the end, so that the next run finds out that it is dead (`remove_drafts`).
    draft = path.with_name(f".{path.name}.{threading.get_ident()}.{os.getpid()}.tmp")
    draft.write_text(json.dumps(value, indent=2))
    os.replace(draft, path)


def lock(home: Path):
    """Exclusive hold of a tracking folder, or None if another process has it; released with the process at the
    latest."""
    from filelock import FileLock, Timeout

    home.mkdir(parents=True, exist_ok=True)
    held = FileLock(home / "writer.lock")
    try:
        held.acquire(timeout=0)
    except Timeout:
        return None
    return held
