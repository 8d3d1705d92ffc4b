"""Figures in the folder of their run, RUN/bench.json, and on its MLflow page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from plmc import digests
from plmc.errors import DamagedFile
from plmc.files import write_record

FILE = "bench.json"
LOGGED = ("p50_ms", "p95_ms", "p99_ms", "rows_per_s", "rows_per_cpu_s")


def read(run: Path) -> list[dict[str, Any]]:
    """The records in a run's bench.json, oldest first; none without the file. Raises DataError for a damaged one."""
    path = Path(run) / FILE
    if not path.is_file():
        return []
    try:
        return digests.read(path)["records"]
    except (OSError, DamagedFile, KeyError) as error:
        raise DamagedFile(f"{path} is damaged ({error}). Delete it and bench again: plmc bench {run}") from error


def identity(record: Mapping[str, Any]) -> tuple[Any, ...]:
    """Records of equal identity measure the same thing; the later one counts."""
    return tuple(record.get(key) for key in ("key", "batch", "length", "device", "threads"))


def keep(run: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Puts the records into the run's bench.json, atomically; a record replaces an older one of its identity."""
    kept = {identity(record): record for record in [*read(run), *records]}
    write_record(Path(run) / FILE, {"records": list(kept.values())})


def by_run(result: Mapping[str, Any]) -> dict[Path, list[dict[str, Any]]]:
    """For each run among the contenders its records, each with what is needed to read it alone."""
    shared = {
        "when": result["when"],
        "device": result["device"],
        "threads": result["threads"],
        "reference": result["contenders"][0]["name"],
        "machine": result["machine"]["cpu"],
        "versions": result["machine"]["versions"],
        "load": result["load"],
    }
    about = {contender["name"]: contender for contender in result["contenders"]}
    found: dict[Path, list[dict[str, Any]]] = {}
    for record in result["records"]:
        contender = about[record["contender"]]
        if contender["run"]:
            known = ("key", "label", "size_bytes", "compact_bytes", "parameters", "nonzero_parameters", "memory")
            facts = {key: contender[key] for key in known}
            found.setdefault(Path(contender["run"]), []).append({**facts, **record, **shared})
    return found


def log(run: Path, records: Sequence[Mapping[str, Any]], warn: Callable[[str], None]) -> None:
    """Appends the figures as metrics `bench/<key>/b<batch>_<length>/…` and bench.json as artifact to the run's
    tracking.

    The run stays as finished as it was. Without tracking nothing happens; while the run is being trained it is left
    alone.
    """
    from plmc.track import reopened

    with reopened(run, warn) as tracker:
        if tracker:
            values = {name: value for record in records for name, value in _metrics(record).items()}
            tracker.log(values, tracker.next_step("bench/"))
            tracker.artifact(Path(run) / FILE)


def _metrics(record: Mapping[str, Any]) -> dict[str, float]:
    place = f"bench/{record['key']}/b{record['batch']}_{record['length']}"
    values = {f"{place}/{name}": record[name] for name in LOGGED}
    values[f"{place}/speedup"] = record["speedup"]["value"]
    for name in ("size_bytes", "compact_bytes"):
        if record.get(name):
            values[f"bench/{record['key']}/{name}"] = record[name]
    return {name: float(value) for name, value in values.items()}
