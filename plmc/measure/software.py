"""The process around a run: threads, device, versions, git state."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from plmc.world import here

if TYPE_CHECKING:
    import torch

# Turns of a waiting thread before it sleeps. 10,000 lose a quarter of the speed next to a busy process.
SPINS = "1000"


def set_threads(asked: int | None, jobs: int = 1) -> int:
    """Sets and returns the CPU threads of this process: `asked`, or all cores divided by the jobs running at once."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = asked or max(1, cores // max(1, jobs))
    torch.set_num_threads(threads)
    # Subprocess libraries (tokenizers, OpenMP) follow the same division.
    os.environ["OMP_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = str(threads)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    return threads


def sleep_at_barriers() -> None:
    """Lets threads sleep that wait for each other, after some microseconds. Works only before torch is imported.

    GNU OpenMP lets them spin for milliseconds. That gains little on a quiet machine; next to one busy process two
    threads are slower than one (figures: docs/benchmarks.md). Variables that the user has set win.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def own_bars_only() -> None:
    """Switches the bars of the libraries off: a run shows its own."""
    import datasets
    from transformers.utils import logging as hf_logging

    datasets.disable_progress_bars()
    hf_logging.disable_progress_bar()


def check_device(device: str) -> None:
    """Raises ConfigError if the device that is asked for is not here."""
    import torch

    from plmc.errors import ConfigError

    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device=cuda, but torch sees no GPU here. Use device=auto, and `plmc doctor` to see why.")


def device_of(device: str) -> torch.device:
    """The device that `auto`, `cpu` or `cuda` means here, one for each process. Raises ConfigError for one that is not
    here."""
    import torch
    from accelerate import Accelerator

    check_device(device)
    if here().size == 1:
        return Accelerator(cpu=device == "cpu").device
    if device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", here().local % torch.cuda.device_count())


def versions() -> dict[str, str | None]:
    """Versions of what decides results."""
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in ("plmc", "torch", "transformers", "tokenizers", "datasets", "accelerate", "mlflow", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def git_state() -> dict[str, str]:
    """Commit and cleanliness of the checkout plmc runs from; empty outside a checkout."""
    folder = Path(__file__).parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=5)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    top = git("rev-parse", "--show-toplevel")
    # site-packages may lie inside somebody else's checkout, whose commit says nothing about plmc.
    if not top or Path(top) != folder.parent.parent:
        return {}
    return {"commit": git("rev-parse", "HEAD") or "none yet", "dirty": "yes" if git("status", "--porcelain") else "no"}
