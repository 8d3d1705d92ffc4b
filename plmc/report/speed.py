"""A benchmark for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from plmc.report.tables import Figures

Rows = list[list[str]]


def headline(result: Mapping[str, Any]) -> list[str]:
    """Where and how it was measured, line by line."""
    machine, load = result["machine"], result["load"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    where = machine["cpu"] if result["device"] == "cpu" else ", ".join(machine["gpus"])
    pin = f"pinned to {_cores(result['pinned'])}" if result["pinned"] else "not pinned"
    sets = f" ({', '.join(machine['isa'])})" if machine.get("isa") and result["device"] == "cpu" else ""
    threads = f"{result['threads']} thread{'s' * (result['threads'] != 1)}"
    lines = [
        f"{where}{sets}, {threads}, {pin}",
        versions,
        f"other processes kept {load['other_cores']:.2f} of {machine['logical_cores']} cores busy; load "
        f"{load['load_before']} before, {load['load_after']} after",
    ]
    if load["other_cores"] > 0.2:
        lines.append("The machine was not idle: trust the ratios, and CPU time more than the clock.")
    return lines


def _cores(cores: Sequence[int]) -> str:
    return f"core{'s' * (len(cores) != 1)} {', '.join(map(str, cores))}"


def cases(result: Mapping[str, Any]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """Title and records of each case, in order."""
    grouped: dict[tuple[int, str], list[Mapping[str, Any]]] = {}
    for record in result["records"]:
        grouped.setdefault((record["batch"], record["length"]), []).append(record)
    for (batch, length), records in grouped.items():
        first = records[0]
        if length == "real":
            tokens = f"real {result['task']} lengths (mean {first['tokens_per_row']:.1f} tokens)"
            tokens += ", sorted by length into batches" if batch > 1 else ""
        else:
            tokens = f"{length} tokens"
        shape = f"batch {batch}, {tokens}, {first['padding']:.0%} padding"
        yield f"{shape}, {first['rounds']} rounds of {first['rows']} rows", records


SPEED_HEADS = (
    "model",
    "p50 ms",
    "p95",
    "p99",
    "rows/s",
    "times as fast [95 % CI]",
    "by CPU time",
    "CPU ms",
    "GMACs/row",
    "J/row",
)


def speed_rows(records: Sequence[Mapping[str, Any]]) -> Rows:
    """Cells under SPEED_HEADS, a row a contender; milliseconds are of a call, that is of a whole batch."""
    return [
        [
            record["contender"],
            *(f"{record[key]:.2f}" for key in ("p50_ms", "p95_ms", "p99_ms")),
            f"{record['rows_per_s']:.0f}",
            interval(record["speedup"]),
            interval(record["speedup_cpu"]),
            f"{record['cpu_p50_ms']:.2f}",
            _scaled(record["macs_per_row"], 1e-9, 3),
            _scaled(record["energy_j_per_row"], 1, 3),
        ]
        for record in records
    ]


COST_HEADS = ("model", "parameters M", "non-zero M", "size MB", "compact MB", "peak memory MB")


def cost_rows(result: Mapping[str, Any]) -> Rows:
    """Cells under COST_HEADS. Memory is of a process that does nothing else, its libraries included."""
    rows = []
    for contender in result["contenders"]:
        memory = max((contender["memory"] or {"peak": {}})["peak"].values(), default=None)
        keys = ("parameters", "nonzero_parameters", "size_bytes", "compact_bytes")
        rows.append([contender["name"], *(_scaled(contender[key], 1e-6, 2) for key in keys), _scaled(memory, 1e-6, 0)])
    return rows


def interval(ratio: Mapping[str, Any]) -> str:
    """`6.91 [6.80, 7.02]`; without the interval for a single round."""
    if ratio["low"] is None:
        return f"{ratio['value']:.2f}"
    return f"{ratio['value']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]"


def _scaled(value: float | None, scale: float, digits: int) -> str:
    return "" if value is None else f"{value * scale:.{digits}f}"


def shown(result: Mapping[str, Any]) -> Iterator[Figures]:
    """One table of speed a case, and one of cost, for the terminal."""
    for title, records in cases(result):
        yield Figures(SPEED_HEADS, speed_rows(records), title)
    yield Figures(COST_HEADS, cost_rows(result), "what they weigh")
