"""What must hold after every kill, and what must be equal once a killed run has finished after all."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

# Time is not repeated, and the machine's load is sampled by the clock.
BY_THE_CLOCK = ("system/", "latency/", "train/", "samples_per_s")


def broken(output: Path) -> list[str]:
    """Files under their final names that cannot be read: none may exist at any moment."""
    found = []
    for path in sorted(output.rglob("*")):
        parts = path.relative_to(output).parts
        # Drafts have hidden names; what lies in MLflow's artifact store, MLflow has written.
        if any(part.startswith(".") or part.endswith((".tmp", ".lock")) for part in parts) or parts[0] == "mlartifacts":
            continue
        try:
            _open(path)
        except FileNotFoundError:
            continue
        except Exception as error:  # whatever a damaged file makes its reader raise is the finding
            found.append(f"{path.relative_to(output)}: {type(error).__name__}: {error}")
    return found


def _open(path: Path) -> None:
    if path.is_dir():
        if path.name == "model" or (path.parent.name == "models" and path.parents[1].name != "tracking"):
            _load_model(path)
        elif path.parent.name == "cache" and path.name not in ("teacher", "packed"):
            import datasets

            len(datasets.load_from_disk(str(path)))
    elif path.suffix == ".json":
        json.loads(path.read_text(encoding="utf-8"))
    elif path.suffix == ".jsonl":
        # The spool cuts a torn last line off when it is opened; every other one must be whole.
        lines = path.read_text(encoding="utf-8").split("\n")
        for line in lines[:-1] if path.name == "events.jsonl" else filter(None, lines):
            json.loads(line)
    elif path.suffix == ".yaml" or path.name == "MLmodel":
        import yaml

        if not isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict):
            raise ValueError("no mapping")
    elif path.suffix == ".safetensors":
        from safetensors.torch import load_file

        load_file(path)
    elif path.suffix == ".pt":
        import torch

        torch.load(path, map_location="cpu", weights_only=True)
    elif path.suffix == ".npy":
        import numpy as np

        np.load(path)
    elif path.suffix == ".png":
        from matplotlib.image import imread

        imread(path)
    elif path.name.startswith("augment-") and path.suffix == ".arrow":
        from datasets.table import MemoryMappedTable

        len(MemoryMappedTable.from_file(str(path)))
    elif path.name == "mlflow.db":
        with sqlite3.connect(path) as store:
            answer = store.execute("pragma integrity_check").fetchone()[0]
        store.close()
        if answer != "ok":
            raise ValueError(answer)
    elif path.name == "README.md" and not path.read_text(encoding="utf-8").endswith("\n"):
        raise ValueError("torn")


def _load_model(folder: Path) -> None:
    from transformers import AutoConfig, AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer

    from plmc.models.load import load_whole

    masked = "MaskedLM" in AutoConfig.from_pretrained(folder).architectures[0]
    # Models with pruned heads have a shape that the library alone cannot build; missing weights are an error here, too.
    load_whole(AutoModelForMaskedLM if masked else AutoModelForSequenceClassification, str(folder))
    AutoTokenizer.from_pretrained(folder)


def differences(one: Path, two: Path) -> list[str]:
    """How the run folder `two` differs from the reference `one` in anything but time and place."""
    found = [f"{name} differs" for name in _files(one) if _bytes(one / name) != _bytes(two / name)]
    results = [json.loads((folder / "result.json").read_text()) for folder in (one, two)]
    for key in ("status", "metrics", "signature", "methods", "warnings", "primary_metric"):
        if results[0][key] != results[1][key]:
            found.append(f"result.json {key}: {results[0][key]} became {results[1][key]}")
    told = ("name", "steps", "best_step", "metrics")
    stages = [[{key: stage[key] for key in told} for stage in result["stages"]] for result in results]
    if stages[0] != stages[1]:
        found.append(f"result.json stages: {stages[0]} became {stages[1]}")
    before, after = tracked_run(one), tracked_run(two)
    if after["runs"] != ["FINISHED"]:
        found.append(f"MLflow runs: {after['runs']} instead of one that is FINISHED")
    for name in before.keys() | after.keys():
        if before.get(name) != after.get(name):
            found.append(f"MLflow {name}: {before.get(name)} became {after.get(name)}")
    drafts = (path for path in two.rglob("*") if path.name.startswith(".") and path.name != ".lock")
    return found + [f"left over: {path.relative_to(two)}" for path in drafts]


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _files(run: Path) -> list[str]:
    """Files of a finished run that must come out byte for byte."""
    names = ["model/model.safetensors", "model/config.json", "model/tokenizer.json", "seen.npy"]
    return names + [str(path.relative_to(run)) for path in sorted((run / "predictions").iterdir())]


def tracked_run(folder: Path) -> dict[str, Any]:
    """What the MLflow store beside a run folder holds of it, read past MLflow's caches."""
    store = sqlite3.connect(next(parent / "mlflow.db" for parent in folder.parents if (parent / "mlflow.db").exists()))
    tagged = "select run_uuid from tags where key = 'plmc.signature' and value = ?"

    def rows(query: str) -> list[tuple]:
        return store.execute(query.replace("OURS", f"({tagged})"), (folder.name,)).fetchall()

    known: dict[str, Any] = {"runs": [status for (status,) in rows("select status from runs where run_uuid in OURS")]}
    for name, step, value in rows("select key, step, value from metrics where run_uuid in OURS order by key, step"):
        if not name.startswith(BY_THE_CLOCK):
            known.setdefault(f"metric {name}", []).append((step, value))
    known["params"] = rows("select key, value from params where run_uuid in OURS and key != 'output_dir' order by key")
    known["models"] = rows("select status from logged_models where source_run_id in OURS")
    known["inputs"] = rows(
        "select d.name, d.digest from inputs i join datasets d on i.source_id = d.dataset_uuid "
        "where i.destination_id in OURS order by d.name, d.digest"
    )
    known["artifacts"] = []
    for (place,) in rows("select artifact_uri from runs where run_uuid in OURS"):
        root = Path(place.removeprefix("file://"))
        known["artifacts"] += sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    store.close()
    return known
