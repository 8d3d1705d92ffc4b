"""Result folders of runs that never took place."""

import json
import zlib
from pathlib import Path

import numpy as np
import yaml

RECIPES = {"finetune": ["task"], "kd": ["kd"], "tinybert": ["layers_kd", "kd"]}
N = 200


def labels(task="sst2"):
    return np.random.default_rng(zlib.crc32(task.encode())).integers(0, 2, N)


def predictions(accuracy, seed, task="sst2"):
    """Records of a classifier; the same examples are hard for every seed and accuracy."""
    y = labels(task)
    ease = np.random.default_rng(1).random(N) + 0.15 * np.random.default_rng(100 + seed).standard_normal(N)
    right = ease.argsort().argsort() < accuracy * N
    return [{"id": i, "prediction_id": int(y[i] if right[i] else 1 - y[i]), "label": int(y[i])} for i in range(N)]


def make_run(
    outputs: Path, *, recipe="kd", task="sst2", seed=1, accuracy=0.8, config=None, records=None, **result
) -> Path:
    """Writes one finished run. `result` replaces top-level keys of result.json, `config` those of config.yaml."""
    settings = {
        "task": {"name": task},
        "recipe": {"name": recipe},
        "seed": seed,
        "teacher": {"name": "big", "seed": seed},
    }
    settings |= {"output_dir": str(outputs)} | (config or {})
    text = json.dumps(settings, sort_keys=True)
    signature = f"{zlib.crc32(text.encode()):08x}"
    folder = Path(outputs) / signature
    (folder / "predictions").mkdir(parents=True)
    (folder / "tracking").mkdir()
    records = predictions(accuracy, seed, task) if records is None else records
    measured = float(np.mean([r.get("prediction_id") == r["label"] for r in records]))
    facts = {
        "signature": signature,
        "status": "finished",
        "recipe": recipe,
        "task": task,
        "data_source": "local",
        "seed": seed,
        "methods": RECIPES.get(recipe, [recipe]),
        "stages": [{"name": "distil", "steps": 60, "seconds": 90.0}],
        "metrics": {"accuracy": measured},
        "primary_metric": "accuracy",
        "teacher": {"name": "big", "metrics": {"accuracy": 0.9}, "parameters": 22_000_000, "size_bytes": 88_000_000},
        "student": {
            "name": "small",
            "parameters": 11_000_000,
            "nonzero_parameters": 10_000_000,
            "size_bytes": 44_000_000,
            "sparsity": 0.1,
        },
        "train": {"seconds": 90.0, "samples_per_second": 100.0, "peak_memory_bytes": 10**9},
        "latency": {"device": "cpu", "batch_1_ms": 5.0, "teacher_batch_1_ms": 10.0},
        "mlflow": {"tracking_uri": "sqlite:///x", "experiment_id": "1", "run_id": f"run{signature}"},
        "versions": {"torch": "2"},
        "label": recipe,
        "command": f"plmc train recipe={recipe} task={task}",
        "warnings": [],
        "folder": str(folder),
    } | result
    (folder / "result.json").write_text(json.dumps(facts))
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    lines = "\n".join(json.dumps(record) for record in records)
    (folder / "predictions" / "validation.jsonl").write_text(lines + "\n")
    return folder


def events(folder: Path, steps=60, boundary=30):
    """Curves of two stages, with eval metrics every ten updates."""
    rng = np.random.default_rng(0)
    with (folder / "tracking" / "events.jsonl").open("w") as file:
        file.write(json.dumps({"kind": "start", "time": 0.0}) + "\n")
        for step in range(1, steps + 1):
            terms = {
                "loss/kd/kl": 2 / (1 + step / 10) + 0.05 * rng.random(),
                "loss/task/cross_entropy": 0.7 / (1 + step / 40),
            }
            if step <= boundary:
                terms = {
                    "loss/layers_kd/hidden": 3 / (1 + step / 5) + 0.1 * rng.random(),
                    "loss/layers_kd/attention": 0.4,
                }
            values = terms | {"loss": sum(terms.values()), "lr": 5e-5 * (1 - step / steps), "steps_per_s": 3.0}
            values |= {"gmp/sparsity": 0.5 * step / steps}
            if step % 10 == 0:
                values |= {"eval/accuracy": 0.5 + step / 200, "eval/f1": 0.45 + step / 200}
            file.write(json.dumps({"kind": "metrics", "step": step, "time": float(step), "values": values}) + "\n")
