"""What a process does with the memory that its tensors free: it keeps it, up to a point.

The C library hands large freed blocks back to the system, which must zero every page of them again at the next update.
Kept blocks cost nothing, but where batches vary in size they fit ever less, and the process outgrows what it uses.
Both calls do nothing elsewhere than on Linux with glibc, and nothing to a GPU's memory.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX in glibc's malloc.h
EVERY = 20  # updates from one look at the memory to the next: the first update after a trim costs a fifth more
SPARED = 2 * 2**30  # bytes below which a process may keep all that it has


def keep() -> None:
    """Lets the C library keep what tensors free, beginning with nothing kept. Figures: docs/RESULTS.md."""
    libc = _glibc()
    if libc:
        libc.malloc_trim(0)
        libc.mallopt(TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(MMAP_MAX, 0)


def trim(step: int) -> None:
    """After update `step`: now and then hands unused memory back to the system if the process has grown large."""
    libc = _glibc()
    if libc and step % EVERY == 0 and resident() > SPARED:
        libc.malloc_trim(0)


def resident() -> int:
    """Bytes of this process that lie in memory now. Linux only."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
