"""Energy by the processor's own counters (RAPL), where the machine lets us read them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")
LEAST_SECONDS = 1.0
"""The counters move every millisecond or so; over a second that error is gone."""


class Meter:
    """Joules of all processor packages. `reason` says why there are none, empty if there are.

    The counters see the whole machine: on a busy one the figure holds the other processes' work too.
    """

    def __init__(self, root: Path = POWERCAP):
        self.reason = ""
        self._zones: list[tuple[Path, int]] = []
        # intel-rapl:0 is a package (AMD uses the same name); intel-rapl:0:0 is a part of it and would count twice.
        zones = sorted(zone for zone in root.glob("intel-rapl:*") if zone.name.count(":") == 1)
        try:
            for zone in zones:
                int((zone / "energy_uj").read_text())
                self._zones.append((zone / "energy_uj", int((zone / "max_energy_range_uj").read_text())))
        except (OSError, ValueError) as error:
            self._zones = []
            self.reason = f"the energy counters cannot be read ({getattr(error, 'strerror', None) or error})"
        if not self._zones and not self.reason:
            self.reason = "the machine shows no energy counters"

    def read(self) -> list[int]:
        """Microjoules of each package since some moment."""
        return [int(path.read_text()) for path, _ in self._zones]

    def joules(self, before: Sequence[int], after: Sequence[int]) -> float:
        """Between two readings; a counter that started again in between is corrected."""
        spent = 0
        for (_, limit), first, last in zip(self._zones, before, after, strict=True):
            spent += last - first if last >= first else last - first + limit
        return spent / 1e6


def per_row(meter: Meter, runtime: Any, feeds: Sequence[Any], *, seconds: float = LEAST_SECONDS) -> float | None:
    """Joules a row over whole passes through `feeds`, at least `seconds` long; None without counters."""
    if meter.reason:
        return None
    rows, start, before = 0, time.perf_counter(), meter.read()
    while rows == 0 or time.perf_counter() - start < seconds:
        for feed in feeds:
            runtime.run(feed)
            rows += len(feed["input_ids"])
    return meter.joules(before, meter.read()) / rows
