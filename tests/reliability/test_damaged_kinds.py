"""Every kind of file that plmc writes, damaged in every way, and every command that reads it.

`pytest tests/reliability/test_damaged_kinds.py -m slow -s` prints the counts of docs/reliability.md.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from commands import CHECKOUT, SMALL, plmc
from damage import WAYS
from zoo import save

# Files below the run's folder, and what reads them.
RUN = {
    "config.yaml": ("again", "evaluate", "predict", "compare", "report"),
    "result.json": ("again", "evaluate", "predict", "compare", "report", "ls"),
    "about.json": ("again", "report"),
    "seen.npy": ("next",),
    "predictions/validation.jsonl": ("again", "compare", "report", "evaluate"),
    "model/config.json": ("again", "evaluate", "predict", "export", "next"),
    "model/model.safetensors": ("again", "evaluate", "predict", "export", "next"),
    "model/tokenizer.json": ("again", "evaluate", "predict", "export"),
    "model/tokenizer_config.json": ("again", "evaluate", "predict", "export"),
    "tracking/run.json": ("again", "compare", "sync"),
    "tracking/sent.json": ("again", "sync"),
    "tracking/events.jsonl": ("again", "sync", "report"),
    "stages/measured.json": ("finish",),
    "stages/0-distil/done.json": ("finish",),
    "stages/0-distil/done.pt": ("finish",),
    "export/onnx-int8/plmc_export.json": ("compare", "report", "export", "bench"),
    "export/onnx-int8/model.onnx": ("compare", "export", "bench"),
    "export/onnx-int8/tokenizer.json": ("export", "bench"),
    "export/onnx-int8/tokenizer_config.json": ("export", "bench"),
}
TEACHER = {
    f"teachers/*/{name}": ("force",)
    for name in (
        "result.json",
        "config.yaml",
        "model/config.json",
        "model/model.safetensors",
        "model/tokenizer.json",
        "model/tokenizer_config.json",
        "seen.npy",
        "stages/0-finetune/done.json",
        "stages/0-finetune/done.pt",
    )
}
CACHE = {
    f"cache/{name}": ("force",)
    for name in (
        "teacher/*/head0.npy",
        "teacher/*/digests.json",
        "[0-9a-f]*/state.json",
        "[0-9a-f]*/digests.json",
        "[0-9a-f]*/dataset_info.json",
        "[0-9a-f]*/data-*.arrow",
    )
}
CUT = {f"kd-rte-*/stages/0-distil/{name}": ("again",) for name in ("checkpoint.pt", "best.pt")}
CASES = [
    *[("finished", f"kd-rte-*/{file}", way, verb) for file, verbs in RUN.items() for way in WAYS for verb in verbs],
    *[
        ("finished", file, way, verb)
        for files in (TEACHER, CACHE)
        for file, verbs in files.items()
        for way in WAYS
        for verb in verbs
    ],
    *[("cut off", file, way, verb) for file, verbs in CUT.items() for way in WAYS for verb in verbs],
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder to work in, the words of its run, and two states of its outputs: finished, and cut off in mid-stage."""
    root = tmp_path_factory.mktemp("damage")
    before, os.environ["HF_HUB_OFFLINE"] = Path.cwd(), "1"
    os.environ["COLUMNS"] = "250"
    os.chdir(root)
    bert = save(root / "bert", "bert")
    words = [word for word in SMALL if word not in ("tracking=off", "budget.steps=4")]
    words += [f"teacher.name={bert}", "task=rte", "recipe=kd", "latency_rows=0", "tracking.system_metrics=false"]
    words += ["tracking.model=false", "budget.epochs=2", "checkpoint.steps=2", "train.eval_every=1"]
    # MLflow keeps the file open in this process; only a process of its own sees a damaged one.
    words += [f"tracking.uri=sqlite:///{root}/mlflow.db"]

    from plmc.training import checkpoint

    keep = checkpoint.save

    def stop(path, state, **options):
        keep(path, state, **options)
        if path.name == "checkpoint.pt" and "kd-rte" in str(path):
            raise KeyboardInterrupt

    checkpoint.save = stop
    try:
        assert plmc("train", *words).code == 130
    finally:
        checkpoint.save = keep
    shutil.copytree("outputs", "cut off")
    assert plmc("train", *words).code == 0
    run = next(Path("outputs").glob("kd-rte-*")).name
    assert plmc("export", run, "--quantize", "int8", "--max-drop", "100").code == 0
    shutil.copytree("outputs", "finished")
    verbs = {
        "again": ["train", *words],
        "force": ["train", *words, "force=true"],
        "finish": ["train", *words],
        "next": ["train", *words, "recipe=finetune", "student=base", f"student.name=outputs/{run}", "seed=2"],
        "evaluate": ["evaluate", run],
        "predict": ["predict", run, "the tree is near", "a bird"],
        "compare": ["compare"],
        "report": ["report"],
        "ls": ["ls", "runs"],
        "sync": ["sync"],
        "bench": [
            "bench",
            f"outputs/{run}/export/onnx-int8",
            "task=rte",
            "data=embedded",
            "data.validation_rows=8",
            "--batch",
            "1",
            "--rounds",
            "1",
            "--no-memory",
        ],
        "export": ["export", run, "--quantize", "int8", "--max-drop", "100"],
    }
    yield root, run, verbs
    os.chdir(before)


def ended(made, state: str, verb: str, damage=None):
    """How the command ended on a fresh copy of the state, and what it left that counts."""
    root, run, verbs = made
    os.chdir(root)
    shutil.rmtree("outputs", ignore_errors=True)
    shutil.copytree(state, "outputs")
    if verb == "finish":  # what is left of a run that was killed just before its last file
        (Path("outputs") / run / "result.json").unlink()
    if damage is not None:
        damage()
    done = plmc(*verbs[verb])
    results = sorted(Path("outputs").glob("*/predictions/validation.jsonl")) if verbs[verb][0] == "train" else []
    answers = [path.read_bytes() for path in results] if done.code == 0 else []
    return done, (done.text if verb in ("evaluate", "predict") else "", answers)


@pytest.fixture(scope="module")
def whole(made):
    """What each command does with undamaged files, once."""
    found = {}

    def of(state, verb):
        if (state, verb) not in found:
            done, left = ended(made, state, verb)
            assert done.code == 0, done.text
            found[state, verb] = left
        return found[state, verb]

    return of


def judge(done, left, expected, path: Path) -> str:
    """`error`: one good message. `healed`: told, and all as it should be. `unharmed`: as if nothing were damaged."""
    if "Traceback" in done.text or "fault of plmc" in done.text:
        return "fault"
    if done.code != 0:
        names = [
            part for part in path.parts[1:] if part not in ("model", "stages", "tracking", "export", "predictions")
        ]
        named = any(name in done.text for name in names)
        return "error" if done.text.count("error ") == 1 and named else "unclear error"
    if path.parent.name == "predictions" and "nothing to train" in done.text:
        return "unharmed"  # a finished run is left as it is: whoever reads its answers checks them
    said = re.search("damaged|does not fit|again|cannot be read|is not", done.text) is not None
    if left == expected or (said and left[1] == expected[1]):
        return "healed" if said else "unharmed"
    return "silent change"


@pytest.mark.slow
def test_every_kind_of_file_in_every_way(made, whole):
    counts, wrong = Counter(), []
    for state, pattern, way, verb in CASES:
        path = None

        def damage(pattern=pattern, way=way):
            nonlocal path
            found = sorted(Path("outputs").glob(pattern))
            assert found, f"there is no {pattern}: the table is out of date"
            path = found[0]
            WAYS[way](path)

        expected = whole(state, verb)
        done, left = ended(made, state, verb, damage)
        verdict = judge(done, left, expected, path)
        counts[verdict] += 1
        print(f"{verdict:10} {pattern} {way}, {verb}", flush=True)
        if verdict == "fault":
            print(done.text[-1500:], flush=True)
        if verdict not in ("error", "healed", "unharmed"):
            wrong.append(f"{verdict}: {pattern} {way}, {verb}: code {done.code} {' '.join(done.text.split())[-400:]}")
    kinds = len({pattern for _, pattern, _, _ in CASES})
    print(f"\n{len(CASES)} damages, {kinds} kinds of files, {len(WAYS)} ways: {dict(counts)}")
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_store_of_mlflow_stops_no_run(tmp_path, way):
    """The file is MLflow's own: the run ends, says that its curves are not there, and keeps them."""
    bert = save(tmp_path / "bert", "bert")
    words = [word for word in SMALL if word != "tracking=off"] + ["recipe=finetune", "task=rte", f"teacher.name={bert}"]
    command = [sys.executable, "-m", "plmc", "train", *words, "latency_rows=0", "tracking.system_metrics=false"]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "HF_HUB_OFFLINE": "1"}
    options = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "timeout": 300}
    assert subprocess.run([*command, "seed=1"], **options).returncode == 0
    WAYS[way](tmp_path / "outputs" / "mlflow.db")
    ended = subprocess.run([*command, "seed=2"], **options)
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0 and len(list(tmp_path.glob("outputs/finetune-rte-2-*/result.json"))) == 1, said
    assert "Traceback" not in said and "fault of plmc" not in said, said[-3000:]
    print(way, [line for line in said.splitlines() if "tracking" in line or "MLflow" in line])
