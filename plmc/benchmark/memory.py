"""Peak memory of one contender in its own process: `python -m plmc.benchmark.memory SPEC.json`."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from plmc.benchmark.contenders import Contender
from plmc.benchmark.inputs import Feed, save
from plmc.errors import PlmcError

PATIENCE = 600.0


def peak(contender: Contender, feeds: dict[str, Feed], *, threads: int, device: str) -> dict[str, Any]:
    """Bytes: `peak` of the whole process by name of feed (highest so far), `started` before the model was opened.

    On `cuda` the peak is what torch has allocated there. Raises PlmcError with the last line of what the process said.
    """
    with tempfile.TemporaryDirectory(prefix="plmc-bench-") as folder:
        files = {}
        for i, (name, feed) in enumerate(feeds.items()):
            files[name] = str(Path(folder) / f"{i}.npz")
            save(feed, Path(files[name]))
        spec = {
            "path": str(contender.path),
            "precision": contender.precision,
            "threads": threads,
            "device": device,
            "feeds": files,
        }
        path = Path(folder) / "spec.json"
        path.write_text(json.dumps(spec), encoding="utf-8")
        command = [sys.executable, "-m", "plmc.benchmark.memory", str(path)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        except subprocess.TimeoutExpired as error:
            raise PlmcError(f"{contender.name}: its memory was not measured within {PATIENCE:.0f} s.") from error
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        raise PlmcError(f"{contender.name}: its memory could not be measured: {said[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def resident_peak() -> int:
    """High-water mark of this process in bytes."""
    # ru_maxrss of a child begins at its parent's size on Linux; the mark in /proc does not.
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    from plmc.measure.figures import peak_memory_bytes

    return peak_memory_bytes()


def _main(path: Path) -> None:
    spec = json.loads(path.read_text(encoding="utf-8"))
    cuda = spec["device"] == "cuda"
    from plmc.export.runtime import open_model

    if cuda:
        import torch

        started = int(torch.cuda.memory_allocated())
    else:
        started = resident_peak()
    runtime = open_model(
        Path(spec["path"]), threads=spec["threads"], device=spec["device"], precision=spec["precision"]
    )
    peaks = {}
    for name, file in spec["feeds"].items():
        with np.load(file) as stored:
            feed = {key: stored[key] for key in stored.files}
        for _ in range(2):
            runtime.run(feed)
        peaks[name] = int(torch.cuda.max_memory_allocated()) if cuda else resident_peak()
    print(json.dumps({"peak": peaks, "started": started}))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
