"""`plmc bench` on tiny models: contenders, cases, what they weigh, the files it leaves."""

import json
from pathlib import Path

import datasets
import numpy as np
import pytest
import yaml
from bench_tools import tiny
from PIL import Image

from plmc.benchmark import contenders, cost, inputs, memory, plot
from plmc.benchmark.contenders import find
from plmc.cli.bench import Options, measured
from plmc.console import Console
from plmc.errors import ConfigError, DataError
from plmc.report import speed
from plmc.results import measurements
from plmc.tasks.glue import Glue


@pytest.fixture(scope="module")
def folders(tmp_path_factory, tiny_tokenizer):
    """Two model folders, one of them inside a run."""
    root = tmp_path_factory.mktemp("bench")
    tiny(root / "big", tiny_tokenizer, layers=3)
    run = root / "outputs" / "kd-sst2-1-abc"
    tiny(run / "model", tiny_tokenizer, layers=1)
    (run / "config.yaml").write_text(yaml.safe_dump({"task": {"name": "sst2"}}))
    (run / "result.json").write_text(
        json.dumps(
            {
                "signature": run.name,
                "recipe": "kd",
                "label": "kd",
                "task": "sst2",
                "seed": 1,
                "metrics": {"accuracy": 0.5},
                "primary_metric": "accuracy",
            }
        )
    )
    return root


@pytest.fixture(scope="module")
def result(folders):
    options = Options(batch="1,2", length="6", rounds=2, memory=False)
    return measured([str(folders / "big"), "kd-sst2"], [], options, folders / "outputs", Console(quiet=True))


def test_names_become_contenders_with_their_bf16_beside_them(folders):
    found = find([str(folders / "big"), "kd-sst2"], folders / "outputs")
    assert [c.name for c in found] == ["big torch fp32", "big torch bf16", "kd torch fp32", "kd torch bf16"]
    assert [c.key for c in found[2:]] == ["torch_fp32", "torch_bf16"] and found[2].task == "sst2"
    assert len(find(["kd-sst2"], folders / "outputs", bf16=False)) == 1


def test_exports_of_a_run_come_along_and_belong_to_it(folders, tmp_path):
    import shutil

    run = tmp_path / "kd-sst2-1-abc"
    shutil.copytree(folders / "outputs" / "kd-sst2-1-abc", run)
    export = run / "export" / "onnx-int8"
    export.mkdir(parents=True)
    (export / "model.onnx").write_bytes(b"not a model")
    (export / "plmc_export.json").write_text(json.dumps({"format": "onnx", "quantize": "int8", "task": "sst2"}))
    found = find([str(run)], tmp_path, exports=True)
    assert [(c.name, c.key, c.run) for c in found][-1] == ("kd onnx int8", "onnx-int8", run)
    with pytest.raises(ConfigError, match="cannot be opened|not installed"):
        contenders.opened(found[-1], threads=1, device="cpu")


def test_models_of_the_same_name_get_longer_ones(folders, tmp_path):
    import shutil

    for end in ("x", "y"):
        shutil.copytree(folders / "outputs" / "kd-sst2-1-abc", tmp_path / f"kd-sst2-{end}")
    found = find([str(tmp_path / "kd-sst2-x"), str(tmp_path / "kd-sst2-y")], tmp_path, bf16=False)
    names = [c.name for c in found]
    assert names == ["kd-sst2-x torch fp32", "kd-sst2-y torch fp32"]


def test_what_cannot_be_raced_is_refused_in_one_line(folders, tmp_path):
    for names, words in (
        ([], "at least one model"),
        ([str(tmp_path)], "holds no model"),
        (["nothing"], "no such folder"),
    ):
        with pytest.raises(ConfigError, match=words):
            find(names, folders / "outputs")
    other = tmp_path / "rte"
    tiny_run = folders / "outputs" / "kd-sst2-1-abc"
    (other / "model").mkdir(parents=True)
    (other / "model" / "config.json").write_text("{}")
    (other / "config.yaml").write_text(yaml.safe_dump({"task": {"name": "rte"}}))
    with pytest.raises(ConfigError, match="different tasks"):
        find([str(tiny_run), str(other)], tmp_path)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"rounds": 0}, "--rounds 0"),
        ({"threads": 0}, "--threads 0"),
        ({"batch": "1,x"}, "--batch 1,x"),
        ({"length": "real,1"}, "--length"),
        ({"seconds": 0.0}, "--seconds"),
        ({"device": "tpu"}, "--device tpu"),
        ({"batch": ""}, "--batch"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_opened(tmp_path, changed, words):
    with pytest.raises(ConfigError, match=words):
        measured(["nothing"], [], Options(**changed), tmp_path, Console(quiet=True))


def test_every_case_and_contender_has_a_record(result):
    assert [c["name"] for c in result["contenders"]] == [
        "big torch fp32",
        "big torch bf16",
        "kd torch fp32",
        "kd torch bf16",
    ]
    assert [(r["batch"], r["length"]) for r in result["records"][::4]] == [(1, "6"), (2, "6")]
    for record in result["records"]:
        assert record["rounds"] == 2 and record["p50_ms"] <= record["p95_ms"] <= record["p99_ms"]
        assert record["padding"] == 0 and record["rows"] == 8 * record["batch"]
    assert result["records"][0]["speedup"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert json.loads(json.dumps(result)) == result
    small, big = result["contenders"][2], result["contenders"][0]
    assert small["parameters"] < big["parameters"] and small["size_bytes"] < big["size_bytes"]


def test_tables_and_picture_show_every_contender(result, tmp_path):
    titles = [title for title, _ in speed.cases(result)]
    assert titles[1].startswith("batch 2, 6 tokens, 0% padding, 2 rounds of 16 rows")
    cells = [row[0] for row in speed.speed_rows(result["records"])] + [row[0] for row in speed.cost_rows(result)]
    assert cells.count("kd torch bf16") == 3
    assert any("1 thread" in line for line in speed.headline(result))
    plot.plot(result, tmp_path / "b.png")
    assert np.asarray(Image.open(tmp_path / "b.png").convert("L")).std() > 5


def test_macs_are_those_of_the_paper_and_pencil(folders):
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folders / "big")
    layers, width, inner, tokens = 3, 32, 64, 11
    block = tokens * (4 * width**2 + 2 * width * inner) + 2 * tokens**2 * width
    by_hand = layers * block + width**2 + width * 2
    before = model.config._attn_implementation
    assert cost.macs(model).mean(np.array([tokens])) == pytest.approx(by_hand, rel=1e-9)
    assert model.config._attn_implementation == before


def test_real_rows_are_sorted_thinned_and_the_same_for_all(folders, tiny_tokenizer):
    texts = [" ".join(["good film"] * (1 + i % 9)) for i in range(200)]
    rows = datasets.Dataset.from_dict({"id": list(range(200)), "text_a": texts, "label": [i % 2 for i in range(200)]})
    racers = find([str(folders / "big"), str(folders / "outputs" / "kd-sst2-1-abc")], folders, bf16=False)
    one, eight = inputs.real_cases(racers, Glue(name="sst2"), rows, [1, 8])
    assert len(one.feeds[0]) == 64 and len(eight.feeds[0]) == inputs.most_batches(8)
    for case in (one, eight):
        widths = [feed["input_ids"].shape for feed in case.feeds[0]]
        assert widths == sorted(widths) and all(b == case.batch for b, _ in widths)
        for mine, theirs in zip(case.feeds[0], case.feeds[1], strict=True):
            np.testing.assert_array_equal(mine["input_ids"], theirs["input_ids"])
        assert sum(int(feed["attention_mask"].sum()) for feed in case.feeds[0]) == case.lengths[0].sum()
    # Thinning keeps both ends of the spread.
    assert {one.lengths[0].min(), one.lengths[0].max()} == {4, 20}
    with pytest.raises(ConfigError, match="--batch 300"):
        inputs.real_cases(racers, Glue(name="sst2"), rows, [300])


def test_figures_are_kept_beside_their_run_and_newer_ones_replace_older(result, folders):
    (run,) = measurements.by_run(result)
    assert run == folders / "outputs" / "kd-sst2-1-abc"
    records = measurements.by_run(result)[run]
    assert {r["key"] for r in records} == {"torch_fp32", "torch_bf16"} and records[0]["reference"] == "big torch fp32"
    measurements.keep(run, records)
    measurements.keep(run, [{**records[0], "p50_ms": 123.0}])
    kept = measurements.read(run)
    assert len(kept) == len(records) and [r["p50_ms"] for r in kept].count(123.0) == 1
    (run / measurements.FILE).write_text("{")
    with pytest.raises(DataError, match="damaged"):
        measurements.read(run)
    (run / measurements.FILE).unlink()


@pytest.mark.slow
def test_peak_memory_of_another_process(folders):
    (racer,) = find([str(folders / "big")], folders, bf16=False)
    feed = {"input_ids": np.full((1, 4), 50, dtype=np.int64), "attention_mask": np.ones((1, 4), dtype=np.int64)}
    feed["token_type_ids"] = np.zeros_like(feed["input_ids"])
    if not Path("/proc/self/status").exists():
        pytest.skip("no high-water mark here")
    assert memory.resident_peak() > 10**7
    found = memory.peak(racer, {"1x4": feed}, threads=1, device="cpu")
    assert found["peak"]["1x4"] > found["started"] > 10**6
