"""Load of the machine as metrics, under the names that MLflow's page for system metrics knows."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from plmc.errors import TrainingError

_QUERY = ["--query-gpu=index,utilization.gpu,memory.used,memory.total", "--format=csv,noheader,nounits"]
_MIB = 2**20


def sample(folder: Path) -> dict[str, float]:
    """Percent and megabytes (MiB) of processor, memory, the disk of `folder`, and NVIDIA GPUs where there are some."""
    import psutil

    memory, disk = psutil.virtual_memory(), psutil.disk_usage(str(folder))
    values = {
        "system/cpu_utilization_percentage": psutil.cpu_percent(),
        "system/system_memory_usage_megabytes": memory.used / _MIB,
        "system/system_memory_usage_percentage": memory.percent,
        "system/process_memory_megabytes": psutil.Process().memory_info().rss / _MIB,
        "system/disk_usage_megabytes": disk.used / _MIB,
        "system/disk_usage_percentage": disk.percent,
    }
    return values | _gpus()


def _gpus() -> dict[str, float]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return {}
    try:
        answer = subprocess.run([tool, *_QUERY], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        # A driver that does not answer is no reason to stop measuring the rest.
        return {}
    values: dict[str, float] = {}
    for line in answer.splitlines():
        index, *fields = (field.strip() for field in line.split(","))
        # "[N/A]" where there is no such measurement: a partitioned GPU does not report its load.
        busy, used, total = (float(field) if field[:1].isdigit() else None for field in fields)
        if busy is not None:
            values[f"system/gpu_{index}_utilization_percentage"] = busy
        if used is not None and total:
            values[f"system/gpu_{index}_memory_usage_megabytes"] = used
            values[f"system/gpu_{index}_memory_usage_percentage"] = 100 * used / total
    return values


class Sampler(threading.Thread):
    """Calls `log(values, step)` with a sample every `interval` seconds until `stop`; steps count samples from
    `first`."""

    def __init__(self, log: Callable[[Mapping[str, float], int], None], folder: Path, interval: float, first: int = 0):
        super().__init__(name="plmc-system-metrics", daemon=True)
        self._log, self._folder, self._interval, self._step = log, folder, interval, first
        self._stop_event = threading.Event()
        # The load is measured since the call before; without this one the first sample would read 0 %.
        sample(folder)

    def run(self) -> None:
        while not self._stop_event.wait(self._interval):
            try:
                self._log(sample(self._folder), self._step)
            except TrainingError:
                # A full disk; the trainer meets the same error and reports it.
                return
            self._step += 1

    def stop(self) -> None:
        """Ends the thread; no sample is logged afterwards."""
        self._stop_event.set()
        self.join()
