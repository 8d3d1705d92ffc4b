"""Rows and models that every job starts from, made once: `python scripts/bench/prepare.py SPEC.json`."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np


def main(spec_file: Path) -> None:
    """Writes glue/SST-2/*.tsv, train.json, dev.json, teacher/ and student/ into the folder of the spec."""
    from plmc.config.build import build
    from plmc.measure.software import own_bars_only, set_threads
    from plmc.models import load
    from plmc.models.load import ModelSpec

    spec = json.loads(spec_file.read_text(encoding="utf-8"))
    own_bars_only()
    set_threads(spec["threads"])
    folder = Path(spec["folder"])
    glue = {"_target_": "plmc.tasks.glue.Glue", "name": "sst2", "metric": "accuracy", "max_length": spec["max_length"]}
    task = build(glue, "task")
    source = {"_target_": "plmc.data.embedded.Embedded", "name": "embedded"}
    if spec["data"] != "embedded":
        source = {"_target_": "plmc.data.local.Local", "name": "local", "root": spec["data"]}
    raw = build(source, "data").load(task)
    # A random part, the same for every number of epochs and repeat.
    order = np.random.default_rng(0).permutation(len(raw["train"]))[: spec["sentences"]]
    dev = raw["validation"]
    parts = {"train": raw["train"].select(np.sort(order)), "dev": dev.select(range(min(spec["dev"], len(dev))))}
    tokenizer = load.load_tokenizer(load.MINILM)
    (folder / "glue" / "SST-2").mkdir(parents=True, exist_ok=True)
    for name, rows in parts.items():
        texts, labels = rows["text_a"], [int(label) for label in rows["label"]]
        with (folder / "glue" / "SST-2" / f"{name}.tsv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None, escapechar=None)
            writer.writerow(["sentence", "label"])
            writer.writerows(zip((" ".join(text.split()) for text in texts), labels, strict=True))
        ids = tokenizer(list(texts), truncation=True, max_length=spec["max_length"])["input_ids"]
        (folder / f"{name}.json").write_text(json.dumps({"input_ids": ids, "labels": labels}), encoding="utf-8")
    student = load.build(ModelSpec(name=load.MINILM, layers=spec["layers"]), task, seed=spec["seed"])
    teacher = load.load_finetuned(spec["teacher"], task) if spec["teacher"] else _teacher(spec, load, task, folder)
    for name, model in (("student", student), ("teacher", teacher)):
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    (folder / "ready").touch()


def _teacher(spec: dict, load, task, folder: Path):
    """All layers, fine-tuned on the same rows by a plain loop."""
    import random

    import common
    import torch
    import torch.nn.functional as F
    from hand import batches

    torch.manual_seed(spec["seed"])
    model = load.build(load.ModelSpec(name=load.MINILM), task, seed=spec["seed"])
    rows, rng = common.Rows(folder / "train.json"), random.Random(spec["seed"])
    optimizer = torch.optim.AdamW(common.parameter_groups(model), lr=spec["teacher_lr"])
    for _ in range(spec["teacher_epochs"]):
        for picked in batches(rows, 32, rng):
            batch = common.pad([rows[row] for row in picked])
            labels = batch.pop("labels")
            F.cross_entropy(model(**batch).logits, labels).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), common.CLIP)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    return model.eval()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
