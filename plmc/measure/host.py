"""The machine while it is measured: pinned cores, versions, instruction sets, what else it was busy with."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil

ISA = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16")
PACKAGES = ("plmc", "torch", "transformers", "onnxruntime", "openvino", "nncf", "torchao", "numpy")


@contextmanager
def pinned(threads: int) -> Iterator[list[int] | None]:
    """Inside, this process runs on the `threads` cores that are least busy now; yields them, None where nothing pins.

    Threads that a runtime starts inside inherit the cores. With more threads than cores nothing is pinned.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield None
        return
    before = os.sched_getaffinity(0)
    if threads >= len(before):
        yield None
        return
    load = psutil.cpu_percent(interval=0.2, percpu=True)
    free = sorted(before, key=lambda core: (load[core] if core < len(load) else 100.0, core))
    chosen = sorted(free[:threads])
    os.sched_setaffinity(0, chosen)
    try:
        yield chosen
    finally:
        os.sched_setaffinity(0, before)


class Load:
    """Cores that other processes kept busy between `start` and `stop`."""

    def __init__(self) -> None:
        self._begin = (_busy(), time.process_time(), time.perf_counter(), psutil.getloadavg()[0])

    def stop(self) -> dict[str, float]:
        """`other_cores` (busy with other processes, mean), `load_before` and `load_after` (one-minute load
        averages)."""
        busy, own, wall, load = self._begin
        passed = max(time.perf_counter() - wall, 1e-9)
        others = max(0.0, (_busy() - busy) - (time.process_time() - own)) / passed
        # The system counts in hundredths of a second, so a short stretch may seem busier than the machine can be.
        others = min(others, float(psutil.cpu_count() or 1))
        return {
            "other_cores": round(others, 2),
            "load_before": round(load, 2),
            "load_after": round(psutil.getloadavg()[0], 2),
        }


def _busy() -> float:
    spent = psutil.cpu_times()
    return sum(spent) - spent.idle - getattr(spent, "iowait", 0.0) - getattr(spent, "guest", 0.0)


def describe(threads: int) -> dict[str, Any]:
    """`plmc.measure.figures.machine` with the threads of this benchmark, the packages of all runtimes and instruction
    sets."""
    from importlib.metadata import PackageNotFoundError, version

    from plmc.measure.figures import machine

    found = machine() | {"threads": threads, "isa": instruction_sets()}
    for package in PACKAGES:
        try:
            found["versions"][package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def instruction_sets(text: str | None = None) -> list[str]:
    """Those of ISA that the processor names among its flags; empty where it names none.

    Args:
        text: as in /proc/cpuinfo.
    """
    if text is None:
        try:
            with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
                text = file.read()
        except OSError:
            return []
    flags = next((line.partition(":")[2].split() for line in text.splitlines() if line.startswith("flags")), [])
    return [name for name in ISA if name in flags]
