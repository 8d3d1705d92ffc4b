"""Exports and bench figures as rows of `plmc compare` and points of its picture."""

import csv
import io

import numpy as np
import pytest
import yaml
from bench_folders import add_bench, add_export, bench_record
from PIL import Image
from run_folders import make_run

from plmc.errors import DataError
from plmc.report import pareto, variants
from plmc.report.compare import compare
from plmc.report.pareto import figure_of, plot_pareto
from plmc.report.placing import overlap
from plmc.report.render import csv_text, markdown
from plmc.report.rows import Row
from plmc.results.find import find


@pytest.fixture
def outputs(tmp_path):
    make_run(tmp_path, recipe="finetune", accuracy=0.7)
    for seed, p50 in ((1, 4.0), (2, 6.0)):
        folder = make_run(tmp_path, recipe="kd", seed=seed)
        add_export(folder, score=0.78 + seed / 100)
        figures = [
            bench_record(p50=p50),
            bench_record("onnx-int8", p50=1.0),
            bench_record(p50=9.0, batch=32, threads=2),
        ]
        add_bench(folder, figures)
    return tmp_path


def row(table, label):
    (found,) = [row for row in table.rows if row.label == label]
    return found


def test_an_export_is_a_row_with_its_own_metric_size_and_speed(outputs):
    (table,) = compare(find(outputs), resamples=50)
    export = row(table, "kd > onnx int8")
    assert export.metrics["accuracy"] == pytest.approx((0.795, np.std([0.79, 0.80], ddof=1)))
    assert (export.mean("size_bytes"), export.mean("compact_bytes"), export.export_of, export.seeds) == (
        12e6,
        9e6,
        "kd",
        2,
    )
    assert export.bench_ms == {"b1 real": (1.0, 0.0)} and export.difference is None
    assert export.mean("kept") == pytest.approx(0.795 / 0.9)


def test_bench_figures_stand_beside_the_accuracy(outputs):
    (table,) = compare(find(outputs), resamples=50)
    assert row(table, "kd").bench_ms["b1 real"] == pytest.approx((5.0, np.sqrt(2)))
    assert row(table, "kd").bench_ms["b32 real, 2 threads"] == (9.0, 0.0)
    assert "| b1 real ms |" in markdown([table]) and "5.00 ± 1.41" in markdown([table])
    rows = {line["arm"]: line for line in csv.DictReader(io.StringIO(csv_text([table])))}
    assert float(rows["kd > onnx int8"]["b1 real ms"]) == 1.0 and rows["kd > onnx int8"]["export_of"] == "kd"


def test_an_exports_own_check_fills_its_row(tmp_path):
    folder = make_run(tmp_path, recipe="kd", metrics={"accuracy": 0.8, "f1": 0.75})
    add_export(
        folder,
        verification={"metrics_after": {"accuracy": 0.79, "f1": 0.7}},
        latency={"export_ms": 1.25, "speedup": 4.0},
    )
    (table,) = compare(find(tmp_path), resamples=50)
    export = row(table, "kd > onnx int8")
    assert (export.metrics["accuracy"][0], export.metrics["f1"][0]) == (0.79, 0.7)
    # The run is twice as fast as its teacher, the export four times as fast as the run.
    assert export.mean("latency_ms") == 1.25 and export.mean("speedup") == pytest.approx(8.0)


def test_times_of_different_moments_are_shown_as_shares_of_the_teachers(tmp_path):
    # One architecture, measured on a machine of three moods.
    for i, (mood, others) in enumerate([(1.0, 0.0), (5.0, 1.2), (2.0, 0.1)]):
        latency = {"device": "cpu", "batch_1_ms": 5.0 * mood, "teacher_batch_1_ms": 10.0 * mood, "other_cores": others}
        make_run(tmp_path, recipe=f"kd{i}", latency=latency)
    (table,) = compare(find(tmp_path), resamples=50)
    text = markdown([table])
    assert "latency ms" not in text and text.count("2.00x") == 3
    assert text.count("~2.00x") == 1 and "other processes kept the machine busy" in text
    panel = pareto._panels(table.rows)[0]
    assert "share of the teacher's" in panel.label
    assert [panel.cost(line)[0] for line in table.rows if not line.is_teacher] == pytest.approx([0.5] * 3)


def test_an_unchecked_export_is_no_row(outputs):
    (kd,) = find(outputs, ["recipe=kd", "seed=1"])
    add_export(kd.folder, "onnx-int4", verification={})
    (table,) = compare(find(outputs), resamples=50)
    assert not any("int4" in row.label for row in table.rows)


def test_a_damaged_description_is_named(outputs):
    (kd,) = find(outputs, ["recipe=kd", "seed=1"])
    (kd.folder / "export" / "onnx-int8" / "plmc_export.json").write_text("{")
    with pytest.raises(DataError, match="plmc_export.json is damaged"):
        compare(find(outputs), resamples=50)


def test_the_teachers_speed_comes_from_the_run_with_its_metrics(outputs):
    teacher = make_run(outputs / "teachers", recipe="teacher", metrics={"accuracy": 0.9})
    add_bench(teacher, [bench_record(p50=12.0)])
    other = make_run(outputs / "teachers", recipe="teacher", seed=5, metrics={"accuracy": 0.5})
    add_bench(other, [bench_record(p50=99.0)])
    (table,) = compare(find(outputs), resamples=50)
    assert row(table, "teacher: big").bench_ms == {"b1 real": (12.0, pytest.approx(float("nan"), nan_ok=True))}


def recipe(*targets):
    return {
        "recipe": {"name": "x", "stages": {"s": {"methods": {str(i): {"_target_": t} for i, t in enumerate(targets)}}}}
    }


@pytest.mark.parametrize(
    ("targets", "sparsity", "quantized", "expected"),
    [
        (["plmc.methods.distill.task_loss.TaskLoss"], 0.0, False, variants.DENSE),
        (["plmc.methods.distill.task_loss.TaskLoss"], 0.0, True, variants.QUANTIZED),
        (["plmc.methods.distill.logit_kd.LogitKD"], 0.0, False, variants.DISTILLED),
        (["plmc.methods.prune.gmp.GMP"], 0.0, False, variants.PRUNED),
        ([], 0.5, False, variants.PRUNED),
        (["plmc.methods.distill.logit_kd.LogitKD"], 0.5, False, variants.COMBINED),
        (["plmc.methods.distill.logit_kd.LogitKD"], 0.0, True, variants.COMBINED),
    ],
)
def test_what_was_done_to_a_model(tmp_path, targets, sparsity, quantized, expected):
    make_run(tmp_path, config=recipe(*targets), student={"name": "s", "sparsity": sparsity})
    assert variants.kind(find(tmp_path)[0], quantized) == expected


def test_what_was_done_to_a_model_does_not_depend_on_where_its_methods_are(tmp_path):
    from plmc.methods.quant.qat import QAT

    whole = {"name": "s", "sparsity": 0.0}
    make_run(tmp_path, recipe="a", config=recipe("elsewhere.Moved"), families=[QAT.family], student=whole)
    assert variants.kind(find(tmp_path)[0]) == variants.QUANTIZED
    # A run made before the families were written down.
    make_run(tmp_path, recipe="b", config=recipe("plmc.methods.quant.qat.QAT"), student=whole)
    assert [variants.kind(run) for run in find(tmp_path)] == [variants.QUANTIZED] * 2


def test_every_method_that_changes_a_models_form_names_its_family():
    from hydra.utils import get_class

    from plmc.config.folders import options

    families = {}
    for name, path in options("method").items():
        families[name] = get_class(yaml.safe_load(path.read_text())["_target_"]).family
    assert {name for name, family in families.items() if family == "pruning"} == {
        "ffn_prune",
        "gmp",
        "gmp_lrr",
        "head_prune",
        "layer_drop",
        "lock",
        "one_shot",
        "vocab_trim",
    }
    assert {name for name, family in families.items() if family == "quantization"} == {"qat"}
    assert {name for name, family in families.items() if family == "distillation"} == {"cosine_kd", "token_kd"}


def points(count):
    rng = np.random.default_rng(0)
    return [
        Row(
            f"arm number {i}",
            1,
            {"accuracy": (0.7 + 0.02 * rng.random(), float("nan"))},
            {"size_bytes": (1e7 * (1 + rng.random()), float("nan"))},
            bench_ms={"b1 real": (1 + rng.random(), float("nan"))},
            kind=variants.KINDS[i % 5],
        )
        for i in range(count)
    ]


def test_crowded_labels_do_not_cover_each_other():
    figure = figure_of(points(14), metric="accuracy")
    renderer = figure.canvas.get_renderer()
    for axis in figure.axes:
        boxes = [text.get_window_extent(renderer) for text in axis.texts if text.get_text().startswith("arm")]
        shared = sum(overlap(a, b) for i, a in enumerate(boxes) for b in boxes[:i])
        assert len(boxes) == 14 and shared < 0.02 * sum(box.width * box.height for box in boxes)
        frame = axis.get_window_extent()
        assert all(box.x0 > frame.x0 - 2 and box.x1 < frame.x1 + 2 for box in boxes)


def test_rows_without_a_bench_figure_are_named_below_the_panel(outputs, tmp_path):
    (table,) = compare(find(outputs), resamples=50)
    figure = figure_of(table.rows, metric="accuracy")
    texts = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert any("without this figure" in text and "finetune" in text for text in texts)
    plot_pareto(table.rows, tmp_path / "p.png", metric="accuracy", title="two panels")
    assert np.asarray(Image.open(tmp_path / "p.png").convert("L")).std() > 5
