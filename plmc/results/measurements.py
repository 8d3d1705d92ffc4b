"""Figures in the folder of their run, RUN/bench.json, and on its MLflow page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from plmc import digests
from plmc.errors import DamagedFile
from plmc.files import copy

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
    from plmc.files import write_record

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
    from plmc.track import identity as identities
    from plmc.track import send_pending
    from plmc.track.spool import Spool, lock
    from plmc.track.values import content_digest, metric_name, now

    home = Path(run).resolve() / "tracking"
    if identities.read(home) is None:
        return
    held = lock(home)
    if held is None:
        warn(f"{run} is being trained, so its MLflow run got no bench figures. Bench again when it has ended.")
        return
    try:
        spool = Spool(home)
        earlier = sum(1 for event, _ in spool.events() if event["kind"] == "metrics" and _is_ours(event["values"]))
        values = {metric_name(name): value for record in records for name, value in _metrics(record).items()}
        spool.append({"kind": "metrics", "step": earlier, "time": now(), "values": values})
        source = Path(run) / FILE
        digest = content_digest(source)
        staged = Path("artifacts") / digest[:16] / FILE
        copy(source, home / staged)
        spool.append({"kind": "artifact", "name": FILE, "digest": digest, "staged": str(staged), "folder": ""})
        spool.close()
    finally:
        held.release()
    if left := send_pending(Path(run).resolve().parent, patience=5.0):
        warn(f"{left} figures have not reached MLflow; to send what waits: plmc sync")


def _is_ours(values: Mapping[str, float]) -> bool:
    return any(name.startswith("bench/") for name in values)


def _metrics(record: Mapping[str, Any]) -> dict[str, float]:
    place = f"bench/{record['key']}/b{record['batch']}_{record['length']}"
    values = {f"{place}/{name}": record[name] for name in LOGGED}
    values[f"{place}/speedup"] = record["speedup"]["value"]
    for name in ("size_bytes", "compact_bytes"):
        if record.get(name):
            values[f"bench/{record['key']}/{name}"] = record[name]
    return {name: float(value) for name, value in values.items()}
