"""Model card and final table."""

import io

import pytest
from huggingface_hub import ModelCard
from rich.console import Console
from run_folders import make_run

from plmc.report.card import model_card
from plmc.report.summary import summary_rows, summary_table
from plmc.results.find import find, load
from plmc.results.record import StageResult
from plmc.testing.stage import HEADS

MACHINE = {"cpu": "Some CPU", "gpus": ["Some GPU"]}


def result(tmp_path, **changes):
    return load(make_run(tmp_path, **changes)).record


def test_the_front_matter_is_what_the_hub_reads(tmp_path):
    facts = result(tmp_path, metrics={"accuracy": 0.8, "matthews": 0.6})
    card = ModelCard(model_card(facts, HEADS["classification"], base_model="org/base"))
    assert card.data.pipeline_tag == "text-classification"
    assert card.data.base_model == "org/base"
    assert card.data.metrics == ["accuracy", "matthews_correlation"]
    assert {"plmc", "kd"} <= set(card.data.tags)
    assert card.data.license is None
    assert {score.metric_type: score.metric_value for score in card.data.eval_results} == {
        "accuracy": 0.8,
        "matthews_correlation": 0.6,
    }


def test_the_body_tells_command_methods_results_and_machine(tmp_path):
    facts = result(tmp_path, accuracy=0.81)
    text = model_card(facts, HEADS["classification"], papers={"kd": "Hinton et al. 2015"}, machine=MACHINE)
    assert facts.command in text
    assert "`kd`: Hinton et al. 2015" in text
    assert "| accuracy | 81.00 | 90.00 | 90.0 % |" in text
    assert "Some CPU" in text and "Some GPU" not in text
    assert "2.00 times as fast" in text
    assert "Made-up" not in text


def test_latency_on_a_gpu_names_the_gpu(tmp_path):
    facts = result(tmp_path, latency={"device": "cuda", "batch_1_ms": 1.0})
    assert "on Some GPU" in model_card(facts, HEADS["classification"], machine=MACHINE)


def test_made_up_data_is_said_loudly_and_reaches_no_leaderboard(tmp_path):
    text = model_card(result(tmp_path, data_source="embedded"), HEADS["classification"])
    assert "**Made-up training data.**" in text.split("## ")[0]
    assert ModelCard(text).data.eval_results is None


def test_a_run_without_teacher_latency_or_methods_has_a_card(tmp_path):
    text = model_card(result(tmp_path, teacher=None, latency=None, methods=[]), HEADS["classification"])
    assert "teacher" not in text.split("## Limits")[0]
    assert "None" not in text


def test_no_share_is_given_of_a_teacher_that_has_learnt_nothing(tmp_path):
    facts = result(tmp_path, accuracy=0.81)
    useless = facts.model_copy(update={"teacher": facts.teacher.model_copy(update={"learnt_nothing": True})})
    assert "| 81.00 | 90.00 | 90.0 % |" in model_card(facts, HEADS["classification"])
    assert "| 81.00 | 90.00 |  |" in model_card(useless, HEADS["classification"])


def test_warnings_and_sparsity_are_among_the_limits(tmp_path):
    text = model_card(result(tmp_path, warnings=["Only 64 rows."]), HEADS["classification"]).split("## Limits")[1]
    assert "Only 64 rows." in text and "Zeros are stored" in text


@pytest.mark.parametrize("kind, tag", [("span", "question-answering"), ("regression", "text-classification")])
def test_kinds_have_their_pipeline(tmp_path, kind, tag):
    text = model_card(result(tmp_path), HEADS[kind])
    assert f'pipeline("{tag}"' in text and ModelCard(text).data.pipeline_tag == tag


def test_the_summary_has_teacher_control_and_student(tmp_path):
    own = load(make_run(tmp_path, recipe="kd", seed=2, accuracy=0.81))
    same = load(make_run(tmp_path, recipe="finetune", seed=2, accuracy=0.72, teacher=None))
    other = load(make_run(tmp_path, recipe="finetune", seed=1, accuracy=0.63, teacher=None))
    teacher, control, student = summary_rows(own, [own, other, same])
    assert teacher.is_teacher and teacher.metrics["accuracy"][0] == 0.9
    assert control.metrics["accuracy"][0] == pytest.approx(0.72)
    assert "without a teacher" in control.label
    assert control.mean("kept") == pytest.approx(0.8) and student.mean("kept") == pytest.approx(0.9)


def test_controls_of_other_seeds_are_averaged(tmp_path):
    own = load(make_run(tmp_path, recipe="kd", seed=9))
    controls = [load(make_run(tmp_path, recipe="finetune", seed=seed, accuracy=0.7 + seed / 100)) for seed in (1, 3)]
    _, control, _ = summary_rows(own, controls)
    assert control.seeds == 2 and control.metrics["accuracy"][0] == pytest.approx(0.72)


def test_unlike_runs_are_no_controls(tmp_path):
    own = load(make_run(tmp_path, recipe="kd"))
    unlike = [
        load(make_run(tmp_path, recipe="finetune", task="rte")),
        load(make_run(tmp_path, recipe="finetune", seed=2, data_source="hub")),
        load(make_run(tmp_path, recipe="finetune", config={"student": {"name": "tiny"}})),
        load(make_run(tmp_path, recipe="finetune", seed=3, methods=["task", "gmp"])),
    ]
    assert len(summary_rows(own, unlike)) == 2


def test_a_control_is_not_compared_with_its_own_other_seeds(tmp_path):
    for seed in (1, 2, 3):
        make_run(tmp_path, recipe="finetune", seed=seed)
    runs = find(tmp_path)
    labels = [row.label for row in summary_rows(runs[1], runs)]
    assert labels == ["teacher: big", "finetune"]


def test_the_summary_prints(tmp_path):
    run = load(make_run(tmp_path, accuracy=0.81, data_source="embedded", label="kd [x]"))
    make_run(tmp_path, recipe="finetune", data_source="embedded", teacher=None)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(summary_table(run, tmp_path))
    text = console.export_text()
    for part in (
        "teacher: big",
        "kd [x]",
        "81.00",
        "90.0 %",
        "11.0 M",
        "44.0 MB",
        "5.00 ms",
        "2.00x",
        "Made-up",
        "without a teacher",
    ):
        assert part in text


def test_stages_of_epochs_and_of_steps_share_a_table(tmp_path):
    facts = result(tmp_path)
    one, two = {"lr": 1e-4, "epochs": 3}, {"lr": 2e-5, "steps": 40}
    facts.stages = [
        StageResult(name=name, steps=10, settings=settings) for name, settings in (("first", one), ("second", two))
    ]
    text = model_card(facts, HEADS["classification"])
    assert "| lr | 0.0001 | 2e-05 |" in text and "| epochs | 3 |  |" in text and "| steps |  | 40 |" in text
