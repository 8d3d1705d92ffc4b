"""Tables of arms: figures, baseline, tests, and their three renderings."""

import csv
import io
import json

import pytest
from rich.console import Console
from run_folders import make_run, predictions

from plmc.errors import PlmcError
from plmc.report.compare import compare
from plmc.report.pareto import front, plot_pareto
from plmc.report.render import columns, csv_text, markdown, rich_table, title
from plmc.report.rows import Row
from plmc.results.find import find


@pytest.fixture
def outputs(tmp_path):
    for seed in (1, 2, 3):
        make_run(tmp_path, recipe="finetune", seed=seed, accuracy=0.70 + seed / 100)
        make_run(tmp_path, recipe="kd", seed=seed, accuracy=0.84 + seed / 100)
        make_run(tmp_path, recipe="tinybert", seed=seed, records=predictions(0.705 + seed / 100, seed + 50))
    return tmp_path


def by_label(table):
    return {row.label: row for row in table.rows}


def test_one_table_with_teacher_baseline_and_arms(outputs):
    (table,) = compare(find(outputs), resamples=500)
    assert [row.label for row in table.rows] == ["teacher: big", "finetune", "kd", "tinybert"]
    teacher, plain, kd, tiny = table.rows
    assert teacher.is_teacher and teacher.seeds == 1 and teacher.metrics["accuracy"][0] == 0.9
    assert plain.is_baseline and plain.difference is None
    assert kd.metrics["accuracy"] == pytest.approx((0.86, 0.01))
    assert kd.mean("kept") == pytest.approx(0.86 / 0.9)
    assert kd.mean("speedup") == 2.0 and kd.mean("seconds") == 90 and kd.mean("size_bytes") == 44e6
    assert kd.difference.value == pytest.approx(0.86 - 0.72)
    assert kd.starred and not tiny.starred


def test_a_teacher_per_seed_is_one_row_with_a_spread(tmp_path):
    for seed, score in ((1, 0.88), (2, 0.92)):
        for recipe in ("kd", "finetune"):
            make_run(tmp_path, recipe=recipe, seed=seed, teacher={"name": "big", "metrics": {"accuracy": score}})
    (table,) = compare(find(tmp_path), resamples=50)
    (teacher,) = [row for row in table.rows if row.is_teacher]
    assert teacher.seeds == 2
    assert teacher.metrics["accuracy"][0] == pytest.approx(0.9)


def test_runs_without_a_teacher_are_measured_by_the_tables_only_one(tmp_path):
    make_run(tmp_path, recipe="finetune", accuracy=0.72, teacher=None)
    make_run(tmp_path, recipe="kd", accuracy=0.81)
    (table,) = compare(find(tmp_path), resamples=50)
    assert by_label(table)["finetune"].mean("kept") == pytest.approx(0.8)


def test_tasks_and_data_sources_do_not_mix(tmp_path):
    make_run(tmp_path, task="rte")
    make_run(tmp_path, task="sst2")
    make_run(tmp_path, task="sst2", seed=2, data_source="embedded")
    tables = compare(find(tmp_path), resamples=50)
    assert {(table.task, table.data_source) for table in tables} == {
        ("rte", "local"),
        ("sst2", "local"),
        ("sst2", "embedded"),
    }
    for table in tables:
        assert any("Made-up data" in note for note in table.notes) == (table.data_source == "embedded")


def test_different_files_of_one_task_name_do_not_mix(tmp_path):
    for seed in (1, 2):
        for recipe, name, digest in (("finetune", "a.csv", "11"), ("kd", "a.csv", "11"), ("finetune", "b.csv", "22")):
            files = {"train": str(seed), "validation": digest}
            config = {"task": {"name": "custom", "validation": f"/data/{name}"}, "files": files}
            make_run(tmp_path, task="custom", recipe=recipe, seed=seed, data_source="custom", config=config)
    tables = compare(find(tmp_path), resamples=50)
    assert sorted(len([row for row in table.rows if not row.is_teacher]) for table in tables) == [2, 4]
    titles = [title(table) for table in tables]
    assert len(set(titles)) == 2 and any("a.csv" in text for text in titles) and any("b.csv" in text for text in titles)


@pytest.mark.parametrize("by", ["label", "recipe", "signature"])
def test_the_baseline_can_be_chosen(tmp_path, by):
    make_run(tmp_path, recipe="finetune")
    folder = make_run(tmp_path, recipe="kd", label="kd, T=4")
    word = {"label": "kd, T=4", "recipe": "kd", "signature": folder.name[:6]}[by]
    (table,) = compare(find(tmp_path), baseline=word, resamples=50)
    (base,) = [row for row in table.rows if row.is_baseline]
    assert base.label == "kd, T=4"
    assert by_label(table)["finetune"].difference is not None


def test_a_wrong_or_ambiguous_baseline_is_an_error(tmp_path):
    make_run(tmp_path, config={"x": 1})
    make_run(tmp_path, config={"x": 2})
    with pytest.raises(PlmcError, match="no such arm"):
        compare(find(tmp_path), baseline="magic")
    with pytest.raises(PlmcError, match="fits several arms"):
        compare(find(tmp_path), baseline="kd")
    with pytest.raises(PlmcError, match="no finished runs"):
        compare([])


def test_without_a_baseline_nothing_is_tested(tmp_path):
    make_run(tmp_path, recipe="kd")
    make_run(tmp_path, recipe="tinybert")
    (table,) = compare(find(tmp_path))
    assert all(row.difference is None for row in table.rows)


def test_plain_finetuning_is_the_default_baseline(tmp_path):
    make_run(tmp_path, recipe="finetune", methods=["task", "gmp"], label="finetune + gmp", config={"m": 1})
    make_run(tmp_path, recipe="finetune")
    (table,) = compare(find(tmp_path), resamples=50)
    assert by_label(table)["finetune"].is_baseline


def test_missing_predictions_leave_a_note_and_the_rest(outputs):
    (kd,) = find(outputs, ["recipe=kd", "seed=1"])
    (kd.folder / "predictions" / "validation.jsonl").unlink()
    (table,) = compare(find(outputs), resamples=50)
    assert by_label(table)["kd"].difference is None
    assert by_label(table)["tinybert"].difference is not None
    assert any("kd: not tested" in note and "missing" in note for note in table.notes)


def test_the_terminal_shows_every_arm_and_reads_labels_as_text(tmp_path):
    make_run(tmp_path, label="kd methods=[gmp]")
    (table,) = compare(find(tmp_path))
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(rich_table(table))
    text = console.export_text()
    assert "kd methods=[gmp]" in text and "teacher: big" in text and "80.00" in text


@pytest.mark.parametrize("width", [80, 120, 300])
def test_no_figure_is_cut_on_a_narrow_terminal(outputs, width):
    (table,) = compare(find(outputs), resamples=200)
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(rich_table(table))
    text = console.export_text()
    assert max(len(line) for line in text.splitlines()) <= width
    for head, cell in columns(table):
        assert head in text
        assert all(cell(row) in text for row in table.rows)


def test_empty_columns_are_left_out(tmp_path):
    make_run(tmp_path, latency=None, train=None)
    (table,) = compare(find(tmp_path))
    text = markdown([table])
    assert "latency" not in text and "diff" not in text and "size MB" in text


def test_markdown_is_a_well_formed_table(outputs):
    tables = compare(find(outputs), resamples=50)
    lines = [line for line in markdown(tables).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 4
    assert len({line.count("|") for line in lines}) == 1


def test_csv_holds_unrounded_figures(outputs):
    tables = compare(find(outputs), resamples=50)
    rows = list(csv.DictReader(io.StringIO(csv_text(tables))))
    assert len(rows) == 4
    kd = next(row for row in rows if row["arm"] == "kd")
    assert float(kd["accuracy_mean"]) == by_label(tables[0])["kd"].metrics["accuracy"][0]
    assert float(kd["difference"]) == by_label(tables[0])["kd"].difference.value
    assert kd["seeds"] == "3" and kd["is_teacher"] == "False"


def test_the_comparison_is_reproducible(outputs):
    assert csv_text(compare(find(outputs), resamples=200)) == csv_text(compare(find(outputs), resamples=200))


def test_the_front_holds_what_nothing_beats():
    points = [(1.0, 0.5), (2.0, 0.7), (2.0, 0.6), (3.0, 0.7), (4.0, 0.9), (0.5, 0.4)]
    assert sorted(front(points)) == [0, 1, 4, 5]
    for i in front(points):
        assert not any(x <= points[i][0] and y > points[i][1] for x, y in points)


def test_the_pareto_picture_is_drawn(outputs, tmp_path):
    (table,) = compare(find(outputs), resamples=50)
    path = tmp_path / "new" / "pareto.png"
    plot_pareto(table.rows, path, metric="accuracy")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_nothing_to_plot_is_an_error(tmp_path):
    with pytest.raises(PlmcError, match="nothing to plot"):
        plot_pareto([Row("a", 1, {"accuracy": (0.5, 0.0)})], tmp_path / "x.png", metric="accuracy")


def test_damaged_status_does_not_reach_the_table(outputs):
    (run,) = find(outputs, ["recipe=kd", "seed=3"])
    facts = json.loads((run.folder / "result.json").read_text())
    (run.folder / "result.json").write_text(json.dumps(facts | {"status": "failed"}))
    (table,) = compare(find(outputs), resamples=50)
    assert by_label(table)["kd"].seeds == 2


def test_one_run_a_side_is_tested_by_mcnemar_on_the_rows_where_they_disagree(tmp_path):
    from scipy.stats import binomtest

    sides = {"finetune": predictions(0.70, 1), "kd": predictions(0.80, 2)}
    for recipe, records in sides.items():
        make_run(tmp_path, recipe=recipe, records=records)
    (table,) = compare(find(tmp_path), resamples=200)
    right = {name: [r["prediction_id"] == r["label"] for r in records] for name, records in sides.items()}
    only_kd = sum(k and not f for k, f in zip(right["kd"], right["finetune"], strict=True))
    only_plain = sum(f and not k for k, f in zip(right["kd"], right["finetune"], strict=True))
    difference = by_label(table)["kd"].difference
    assert difference.p == pytest.approx(binomtest(only_kd, only_kd + only_plain, 0.5).pvalue)
    assert "McNemar" in " ".join(table.notes)


def test_several_seeds_a_side_are_tested_by_the_bootstrap(outputs):
    (table,) = compare(find(outputs), resamples=200)
    assert "McNemar" not in " ".join(table.notes)
