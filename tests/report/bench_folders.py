"""Bench figures and exports of runs that never took place."""

import json

MACHINE = {"cpu": "a processor", "versions": {"torch": "2"}}


def bench_record(key="torch_fp32", *, batch=1, length="real", p50=5.0, **more):
    """A record as in RUN/bench.json."""
    speed = {"value": 2.0, "low": 1.9, "high": 2.1}
    record = {
        "key": key,
        "label": key.replace("_", " "),
        "contender": f"kd {key}",
        "batch": batch,
        "length": length,
        "rounds": 5,
        "rows": 64,
        "p50_ms": p50,
        "p95_ms": 1.5 * p50,
        "p99_ms": 2 * p50,
        "rows_per_s": 1000 * batch / p50,
        "rows_per_cpu_s": 1000 * batch / p50,
        "cpu_p50_ms": p50,
        "speedup": speed,
        "speedup_cpu": speed,
        "tokens_per_row": 20.0,
        "padding": 0.1,
        "macs_per_row": 1e8,
        "energy_j_per_row": None,
        "device": "cpu",
        "threads": 1,
        "when": "2026-01-02T03:04:05+0000",
        "reference": "teacher torch fp32",
        "machine": "a processor",
        "versions": {"torch": "2"},
        "load": {"other_cores": 0.0},
        "size_bytes": 44_000_000,
        "compact_bytes": None,
    }
    return record | more


def add_bench(folder, records):
    (folder / "bench.json").write_text(json.dumps({"records": records}))


def add_export(folder, name="onnx-int8", *, score=0.79, quantize="int8", **facts):
    """An export of a run with its check, as plmc export leaves it."""
    target = folder / "export" / name
    target.mkdir(parents=True)
    described = {
        "format": name.split("-")[0],
        "quantize": quantize,
        "task": "sst2",
        "parameters": 11_000_000,
        "nonzero_parameters": 10_000_000,
        "size_bytes": 12_000_000,
        "compact_bytes": 9_000_000,
        "verification": {"metrics_after": {"accuracy": score}},
    } | facts
    (target / "plmc_export.json").write_text(json.dumps(described))
    (target / "model.onnx").write_bytes(b"x" * 100)
    return target
