"""What the bad commands point at: a finished run, damaged and hostile ones, broken files, a broken config folder."""

from __future__ import annotations

import gzip
import os
import shutil
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "cli")]

from commands import SMALL, plmc  # noqa: E402
from zoo import FAMILIES, save, word_pieces  # noqa: E402

HEAD = "sentence,label\n"
GOOD = "".join(f"the tree {i} is near,{('no', 'yes')[i % 2]}\n" for i in range(24))
TABLES = {
    "csv": ("good.csv", HEAD + GOOD),
    "nul": ("nul.csv", HEAD + "a\0tree,no\n" + GOOD),
    "void": ("void.csv", ""),
    "header": ("header.csv", HEAD),
    "short": ("short.csv", HEAD + "a,b,no\n" + GOOD),
    "quote": ("quote.csv", HEAD + '"open,no\n'),
    "twice": ("twice.csv", "sentence,sentence\na,no\n"),
    "one_class": ("one.csv", HEAD + "a,no\nb,no\n"),
    "no_label": ("nolabel.csv", HEAD + "a tree,\n" + GOOD),
    "no_text": ("notext.csv", "a,b\n1,2\n"),
    "floats": ("floats.csv", HEAD + "".join(f"the tree {i},{i / 7:.3f}\n" for i in range(32))),
    "names": ("names.csv", HEAD + "".join(f"the tree {i},w{i}\n" for i in range(32))),
    "number": ("number.jsonl", '{"sentence": 3, "label": "no"}\n{"sentence": "a", "label": "yes"}\n'),
    "jsonl": ("broken.jsonl", '{"sentence": "a", "label": "no"}\n{"sentence": \n'),
    "exe": ("good.exe", HEAD + GOOD),
    "latin": ("latin.csv", (HEAD + "b\xe4ume,no\n" + GOOD).encode("latin-1")),
    "parquet": ("no.parquet", b"PAR1 or not"),
    "gz": ("cut.csv.gz", gzip.compress((HEAD + GOOD).encode())[:40]),
    "fake_onnx": ("fake.onnx", b"\x08\x07no"),
}
CONFIGS = {
    "broken": b"name: [own",
    "binary": b"\xff\xfe\x00\x01\x80",
    "circle": b"defaults: [circle, _self_]\nname: own\n",
    "listed": b"name: own\nstages: [a]\n",
    "nameless": b"stages: {a: {methods: {}}}\n",
    "text": b"just text\n",
    "code": b"name: own\nstages: {a: {methods: {t: {_target_: os.system, command: 'true'}}}}\n",
}


@pytest.fixture(scope="session")
def places(tmp_path_factory) -> dict[str, str]:
    """Values of the names in braces of `bad_commands`."""
    import torch
    from transformers import AutoConfig

    root = tmp_path_factory.mktemp("places")
    os.environ["HF_HUB_OFFLINE"] = "1"
    found = {name: root / file for name, (file, _) in TABLES.items()}
    for file, text in TABLES.values():
        (root / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    found |= {family: save(root / family, family) for family in FAMILIES}
    found["empty"], found["conf"] = root / "empty", root / "conf"
    found["empty"].mkdir()
    (root / "conf/recipe").mkdir(parents=True)
    for name, content in CONFIGS.items():
        (root / f"conf/recipe/{name}.yaml").write_bytes(content)
    for family in ("gpt2", "convbert"):
        found[family] = root / family
        AutoConfig.for_model(family).save_pretrained(root / family)
        word_pieces().save_pretrained(root / family)
    found["bin"] = root / "bin"
    shutil.copytree(found["bert"], found["bin"])
    (found["bin"] / "model.safetensors").unlink()
    (found["bin"] / "pytorch_model.bin").write_bytes(b"no pickle")
    before = Path.cwd()
    os.chdir(root)
    try:
        words = (
            *SMALL,
            f"teacher.name={found['bert']}",
            "student=half",
            "task=sst2",
            "recipe=finetune",
            "latency_rows=0",
        )
        ended = plmc("train", *words)
        assert ended.code == 0, ended.text
    finally:
        os.chdir(before)
    found["run"] = next((root / "outputs").glob("finetune-sst2-*"))
    found["root"], found["model"] = root, root / "plain_model"
    shutil.copytree(found["run"] / "model", found["model"])
    for name in ("damaged", "evil", "unfinished"):
        found[name] = root / name
        shutil.copytree(found["run"], found[name])
    weights = found["damaged"] / "model/model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-100] ^= 1
    weights.write_bytes(data)
    shutil.rmtree(found["unfinished"] / "model")
    (found["unfinished"] / "result.json").unlink()
    (found["evil"] / "result.json").unlink()
    config = found["evil"] / "config.yaml"
    config.write_text(config.read_text().replace("plmc.tasks.glue.Glue", "os.system"))
    del torch
    small = " ".join((*SMALL, f"teacher.name={found['bert']}"))
    own = [word for word in SMALL if not word.startswith("data.")]
    texts = f"task=custom task.train={found['csv']} task.validation={found['csv']} task.text=[sentence]"
    return {name: str(path) for name, path in found.items()} | {
        "small": small,
        "own": " ".join((*own, f"teacher.name={found['bert']}", texts)),
        "long": "/".join(["x" * 200] * 19),
    }
