"""The result of a benchmark as plain values: what the JSON file, the tables and the pictures are made from."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from plmc.benchmark import memory
from plmc.benchmark.contenders import Contender
from plmc.benchmark.cost import Macs
from plmc.benchmark.inputs import Case
from plmc.benchmark.statistics import per_second, percentiles, ratio
from plmc.benchmark.timing import Times, race
from plmc.errors import PlmcError
from plmc.measure import energy

VERSION = 1


def measure(
    contenders: Sequence[Contender],
    cases: Sequence[Case],
    runtimes: Sequence[Any],
    weights: Sequence[Mapping[str, Any]],
    *,
    rounds: int,
    seconds: float | None,
    warmup: int,
    meter: energy.Meter,
    note: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Races every case; one record for each case and contender, the first contender being the reference."""
    records = []
    for case in cases:
        begun = time.perf_counter()
        times = race(case, runtimes, rounds=rounds, seconds=seconds, warmup=warmup)
        if len(times[0].wall) < rounds:
            spent = time.perf_counter() - begun
            done = f"{len(times[0].wall)} of {rounds} rounds in {spent:.0f} s (--seconds)"
            note(f"batch {case.batch}, length {case.length}: {done}.")
        for i, contender in enumerate(contenders):
            record = _record(case, i, times, weights[i]["macs"])
            record["energy_j_per_row"] = energy.per_row(meter, runtimes[i], case.feeds[i])
            records.append({"contender": contender.name, **record})
    return records


def _record(case: Case, i: int, times: Sequence[Times], macs: Macs | None) -> dict[str, Any]:
    mine, reference = times[i], times[0]
    cpu = {f"cpu_{name}": value for name, value in percentiles(mine.cpu).items() if name in ("p50_ms", "mean_ms")}
    return {
        "batch": case.batch,
        "length": case.length,
        "rounds": len(mine.wall),
        "calls": mine.wall.size,
        "rows": case.rows,
        "tokens_per_row": float(case.lengths[i].mean()),
        "padding": case.padding,
        **percentiles(mine.wall),
        **cpu,
        "rows_per_s": per_second(mine.wall, case.rows),
        "rows_per_cpu_s": per_second(mine.cpu, case.rows),
        "speedup": asdict(ratio(reference.wall, mine.wall)),
        "speedup_cpu": asdict(ratio(reference.cpu, mine.cpu)),
        "macs_per_row": macs.mean(case.lengths[i]) if macs else None,
    }


def peaks(
    contender: Contender, cases: Sequence[Case], i: int, *, threads: int, device: str, note: Callable[[str], None]
) -> dict[str, Any] | None:
    """Peak memory of a contender in its own process over the widest batch of every case; None if it failed, noted."""
    feeds = {f"{case.batch}x{case.length}": case.feeds[i][-1] for case in cases}
    # Smallest first: the mark only ever rises.
    ordered = dict(sorted(feeds.items(), key=lambda item: item[1]["input_ids"].size))
    try:
        return memory.peak(contender, ordered, threads=threads, device=device)
    except PlmcError as error:
        note(str(error))
        return None


def of_contender(contender: Contender, weight: Mapping[str, Any], peak: Mapping[str, Any] | None) -> dict[str, Any]:
    """What is the same in all cases of a contender."""
    return {
        "name": contender.name,
        "label": contender.label,
        "key": contender.key,
        "path": str(contender.path),
        "run": str(contender.run) if contender.run else None,
        "precision": contender.precision,
        "quantize": contender.facts.get("quantize"),
        **{key: value for key, value in weight.items() if key != "macs"},
        "macs": asdict(weight["macs"]) if weight["macs"] else None,
        "memory": dict(peak) if peak else None,
    }
