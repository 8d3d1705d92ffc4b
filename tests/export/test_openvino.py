"""Exports to OpenVINO: the float one is the model, the int8 one is near it; both are checked as the others are."""

import pytest
from deployed import save, source_of

from plmc.config.schemes import Plan
from plmc.export import verify
from plmc.export.make import make
from plmc.export.runtime import open_model
from plmc.testing.stage import HEADS

pytest.importorskip("openvino", reason="needs pip install 'plmc[openvino]'")


@pytest.fixture(scope="module")
def source(tokenizers, tmp_path_factory):
    folder = save(tmp_path_factory.mktemp("model") / "bert", "bert", "classification", tokenizers["bert"])
    return source_of(folder, "classification")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    real = verify.latency
    monkeypatch.setattr(
        verify, "latency", lambda runtime, model, split: real(runtime, model, split, rows=2, budget=0.1)
    )


@pytest.mark.parametrize("scheme, error", [("none", 1e-4), ("int8", 0.1)])
def test_an_export_answers_as_the_model(source, tmp_path, silent, scheme, error):
    if scheme == "int8":
        pytest.importorskip("nncf", reason="needs pip install 'plmc[openvino]'")
    facts = make(source, Plan("openvino", scheme), tmp_path / "out", console=silent, max_drop=100)
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"model.xml", "model.bin", "tokenizer.json", "plmc_export.json"} <= files
    assert facts["verification"]["max_error"] < error and facts["verification"]["cosine"] > 0.99
    runtime = open_model(tmp_path / "out", threads=1)
    said = verify.outputs(runtime, source.evaluation, HEADS["classification"], pad_id=source.pad_id)
    assert said[0].shape == (len(source.evaluation), 2)
    assert make(source, Plan("openvino", scheme), tmp_path / "out", console=silent, max_drop=100) == facts
