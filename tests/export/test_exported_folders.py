"""Whole exports: what is in the folder answers as the model does, without plmc; killed or refused, there is no
folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from deployed import FAMILIES, HEADS, save, source_of

from plmc.config.schemes import Plan
from plmc.errors import ConfigError, ExportError
from plmc.export import make as making
from plmc.export import verify
from plmc.export.compact import read_compact
from plmc.export.make import COMPACT, DESCRIPTION, accepted, doubtful, make
from plmc.export.runtime import open_model
from plmc.export.source import load_model
from plmc.testing.stage import HEADS as KINDS

# What a second export of the same model may say otherwise.
TIMES = ("latency", "session_ms", "disabled_optimizers", "step", "sha256")
WITHOUT = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "plmc", "datasets", "onnx"):
            raise ImportError(f"{name} must not be needed")
sys.meta_path.insert(0, Refuse())
"""


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """A few rows for the clock."""
    real = verify.latency
    monkeypatch.setattr(
        verify, "latency", lambda runtime, model, split: real(runtime, model, split, rows=2, budget=0.1)
    )


@pytest.fixture(scope="module")
def exported(tokenizers, tmp_path_factory):
    """One ONNX export per family, each with another head: source and folder."""
    from plmc.console import Console

    made = {}

    def get(family: str):
        if family not in made:
            head, root = HEADS[FAMILIES.index(family)], tmp_path_factory.mktemp(family)
            source = source_of(save(root / "model", family, head, tokenizers[family]), head)
            facts = make(source, Plan("onnx"), root / "onnx", console=Console(quiet=True))
            made[family] = (source, root / "onnx", facts)
        return made[family]

    return get


@pytest.fixture(scope="module")
def bert(exported):
    return exported("bert")


def test_every_head_is_met_by_some_family(exported):
    assert {exported(family)[0].task.name for family in FAMILIES} == {"sst2", "stsb", "rte", "squad"}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_float_export_is_the_model(exported, family):
    _, _, facts = exported(family)
    checked = facts["verification"]
    assert checked["max_error"] < 1e-4 and checked["argmax_agreement"] == 1 and checked["cosine"] > 0.99999
    assert checked["before"] == pytest.approx(checked["after"]) and checked["change"] == pytest.approx(0)
    assert facts["architecture"] == family and facts["size_bytes"] > 0 < facts["compact_bytes"]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_example_answers_like_the_model_without_torch_transformers_and_plmc(exported, family):
    source, folder, facts = exported(family)
    raw = source.evaluation.raw
    pairs = "text_b" in raw.column_names
    rows = [[row["text_a"], row["text_b"]] if pairs else row["text_a"] for row in raw]
    script = WITHOUT + f"sys.path.insert(0, {str(folder)!r})\nimport json\nrows = json.loads(sys.stdin.read())\n"
    if source.task.head.kind == "span":
        script += (
            "from answer import Reader\nreader = Reader()\nprint(json.dumps([reader.answer(*row) for row in rows]))"
        )
    else:
        script += "from classify import Classifier\nprint(json.dumps(Classifier().classify(rows)))"
    done = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(rows), capture_output=True, text=True, cwd=folder, check=False
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    logits = verify.outputs(open_model(folder, threads=1), source.evaluation, source.task.head, pad_id=source.pad_id)
    for record, answer in zip(source.task.predict(logits, source.evaluation), answers, strict=True):
        if source.task.head.kind == "span":
            assert answer["answer"] == record["prediction"] and answer["score"] == pytest.approx(
                record["score"], abs=1e-4
            )
        elif source.task.head.kind == "regression":
            assert answer["score"] == pytest.approx(record["prediction"], abs=1e-4)
        else:
            assert answer["label"] == record["prediction"] and set(answer["scores"]) == set(facts["labels"])


def test_the_example_pads_texts_of_like_length_together(exported):
    source, folder, _ = exported("bert")
    sys.path.insert(0, str(folder))
    try:
        import classify

        classifier = classify.Classifier()
        seen = []
        run = classifier.run
        classifier.run = lambda inputs: (seen.append(inputs["attention_mask"]), run(inputs))[1]
        texts = ["good", "the cat sat on the mat and runs"] * 40
        classifier.classify(texts)
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("classify", None)
    # Unsorted, every batch would be as wide as its longest text: padding costs int8 more than batching gains.
    assert sum(mask.size for mask in seen) < 1.2 * sum(mask.sum() for mask in seen)


def test_open_model_gives_the_same_logits_from_export_run_folder_and_model_folder(bert, tmp_path):
    source, folder, _ = bert
    shutil.copytree(source.folder, tmp_path / "run" / "model")
    feed = verify.single_feeds(source.evaluation, 1)[0] | {"nonsense": np.zeros(3)}
    places = [folder, folder / "model.onnx", source.folder, tmp_path / "run"]
    logits = [open_model(place, threads=1).run(feed)[0] for place in places]
    for other in logits[1:]:
        np.testing.assert_allclose(other, logits[0], atol=1e-5)
    assert [open_model(place, threads=1).label for place in places] == ["onnx", "onnx", "torch fp32", "torch fp32"]
    half = open_model(source.folder, threads=1, precision="bf16")
    assert half.label == "torch bf16" and half.run(feed)[0].dtype == np.float32
    for wrong in ({"path": tmp_path}, {"path": folder, "precision": "bf16"}, {"path": folder, "device": "tpu"}):
        with pytest.raises(ConfigError):
            open_model(**{"threads": 1, **wrong})


def test_int8_keeps_answers_and_the_sparse_file_gives_back_its_tensors(tokenizers, tmp_path, silent):
    folder = save(tmp_path / "model", "bert", "classification", tokenizers["bert"])
    model = load_model(folder)
    for layer in model.bert.encoder.layer:
        weight = layer.intermediate.dense.weight.data
        weight[weight.abs() < weight.abs().median()] = 0
    model.save_pretrained(folder)
    source = source_of(folder, "classification")
    facts = make(source, Plan("onnx", "int8"), tmp_path / "int8", console=silent, max_drop=100)
    assert facts["verification"]["argmax_agreement"] > 0.9
    assert facts["encoder_compression_ratio"] > 3 and facts["float_operators"] == {}
    stored = read_compact(tmp_path / "int8" / COMPACT)
    for tensor in onnx.load(tmp_path / "int8" / "model.onnx").graph.initializer:
        assert np.array_equal(stored[tensor.name].numpy(), onnx.numpy_helper.to_array(tensor))
    assert facts["compact_bytes"] == (tmp_path / "int8" / COMPACT).stat().st_size


def test_torch_exports_load_in_transformers_in_their_precision(bert, tmp_path, silent):
    source, _, _ = bert
    from transformers import AutoModelForSequenceClassification

    for scheme, kind in (("none", torch.float32), ("bf16", torch.bfloat16)):
        facts = make(source, Plan("torch", scheme), tmp_path / scheme, console=silent, max_drop=100)
        model = AutoModelForSequenceClassification.from_pretrained(tmp_path / scheme, dtype="auto")
        assert {param.dtype for param in model.parameters()} == {kind}
        assert facts["verification"]["max_error"] == 0 if scheme == "none" else facts["verification"]["cosine"] > 0.999
        compile((tmp_path / scheme / "classify.py").read_text(), "classify.py", "exec")


def test_openvino_without_its_packages_names_the_extra(bert, tmp_path, silent, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ConfigError, match=r"pip install 'plmc\[openvino\]'"):
        make(bert[0], Plan("openvino"), tmp_path / "ov", console=silent)
    assert not list(tmp_path.iterdir())


def spoil(monkeypatch, source):
    """Exports that answer the opposite, on rows that the model gets right."""
    right = [
        record["prediction_id"]
        for record in source.task.predict(
            verify.outputs(
                open_model(source.folder, threads=1), source.evaluation, KINDS["classification"], pad_id=source.pad_id
            ),
            source.evaluation,
        )
    ]
    source.evaluation.labels[:] = right
    real = verify.outputs
    monkeypatch.setattr(verify, "outputs", lambda *a, **k: tuple(-head for head in real(*a, **k)))


def test_a_metric_that_falls_is_refused_and_nothing_is_left(tokenizers, tmp_path, silent, monkeypatch):
    folder = save(tmp_path / "model", "bert", "classification", tokenizers["bert"])
    source = source_of(folder, "classification")
    spoil(monkeypatch, source)
    plan, out = Plan("torch"), tmp_path / "out"
    with pytest.raises(ExportError, match="100.00 points") as refused:
        make(source, plan, out, console=silent)
    assert refused.value.exit_code == 6 and [path.name for path in tmp_path.iterdir()] == ["model"]
    facts = make(source, plan, out, console=silent, force=True)
    assert facts["verification"]["change"] == pytest.approx(-100) and (out / DESCRIPTION).is_file()
    # Being there does not make it good.
    with pytest.raises(ExportError):
        make(source, plan, out, console=silent)
    assert make(source, plan, out, console=silent, max_drop=100)["key"] == facts["key"]


@pytest.mark.parametrize(
    ("change", "interval", "refused", "warned"),
    [
        (-0.5, [-1.0, -0.1], False, False),
        (-1.5, [-3.5, 0.0], False, True),  # three rows of two hundred
        (-1.5, [-2.5, -0.4], True, False),
        (-10.0, [-25.0, 5.0], False, True),
    ],
)
def test_a_fall_within_the_noise_of_the_rows_is_told_and_not_refused(change, interval, refused, warned):
    checked = {"metric": "accuracy", "before": 0.9, "after": 0.9 + change / 100, "rows": 200}
    checked |= {"change": change, "interval": interval}
    facts = {"format": "onnx", "quantize": "int8", "verification": checked}
    if refused:
        with pytest.raises(ExportError, match="falls from"):
            accepted(facts, 1.0)
    else:
        assert accepted(facts, 1.0) == facts
    assert bool(doubtful(facts, 1.0)) == warned


def test_a_folder_of_something_else_is_never_replaced(bert, tmp_path, silent):
    (tmp_path / "thesis.tex").write_text("years of work")
    for out in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(ConfigError, match="no export of plmc"):
            make(bert[0], Plan("torch"), out, console=silent)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_an_export_that_is_there_is_kept_until_the_model_changes(tokenizers, tmp_path, silent):
    folder = save(tmp_path / "model", "bert", "classification", tokenizers["bert"])
    source, plan = source_of(folder, "classification"), Plan("torch")
    first = make(source, plan, tmp_path / "out", console=silent, max_drop=100)
    stamp = (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns
    assert make(source, plan, tmp_path / "out", console=silent, max_drop=100) == first
    assert (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns == stamp
    save(folder, "bert", "classification", tokenizers["bert"], seed=5)
    second = make(source, plan, tmp_path / "out", console=silent, max_drop=100)
    assert second["key"] != first["key"] and second["step"] == first["step"] + 1


def content(folder):
    # Importing an example leaves a folder of bytecode.
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != DESCRIPTION}
    facts = json.loads((folder / DESCRIPTION).read_text())
    return found, {key: value for key, value in facts.items() if key not in TIMES}


@pytest.mark.parametrize("moment", ["_verified", "_sizes", "write_example"])
def test_killed_at_any_moment_the_same_call_ends_identical(bert, tmp_path, silent, monkeypatch, moment):
    source, reference, _ = bert
    out = tmp_path / "onnx"
    # That the tracer repeats itself is tested with the graphs; here it would only take time.
    monkeypatch.setattr("plmc.export.onnx.to_onnx", lambda model, names: onnx.load(reference / "model.onnx"))
    child = os.fork()
    if not child:
        try:
            setattr(making, moment, lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL))
            make(source, Plan("onnx"), out, console=silent)
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    drafts = list(tmp_path.iterdir())
    assert not out.exists() and len(drafts) == 1 and drafts[0].name.endswith(".tmp")
    make(source, Plan("onnx"), out, console=silent)
    assert [path.name for path in tmp_path.iterdir()] == ["onnx"]
    assert content(out) == content(reference)
