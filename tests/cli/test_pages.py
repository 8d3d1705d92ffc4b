"""What MLflow's pages show of a run, its teacher and its sweep; what the model card says."""

import getpass
import json

from commands import plmc
from huggingface_hub import ModelCard


def runs(tmp_path):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/outputs/mlflow.db")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return client, {run.info.run_name: run for run in client.search_runs(experiments)}


def tracked(small):
    return [
        *(word for word in small if word != "tracking=off"),
        "tracking.system_metrics=false",
        "tracking.model=false",
    ]


def test_a_run_has_its_user_source_description_rates_and_result(small, tmp_path):
    words = [*tracked(small), "recipe=gmp_star", "task=rte", "latency_rows=4"]
    assert plmc("train", *words).code == 0
    client, found = runs(tmp_path)
    run, teacher = found["gmp_star rte seed 1"], found["teacher rte seed 1"]
    tags, params = run.data.tags, run.data.params
    assert tags["mlflow.user"] == getpass.getuser() and tags["mlflow.source.name"] == "plmc train"
    assert "recipe=gmp_star" in tags["plmc.command"] and "recipe=gmp_star" in tags["mlflow.note.content"]
    assert "| accuracy |" in tags["mlflow.note.content"] and "latency of one row" in tags["mlflow.note.content"]
    assert params["stage.prune.lr"] == "0.0001" and params["stage.prune.schedule"] == "constant"
    assert params["stage.prune.methods"] == "kd, gmp"
    assert not [name for name, value in params.items() if value in ("None", "") or name.endswith("_target_")]
    assert "result.json" in {file.path for file in client.list_artifacts(run.info.run_id)}
    assert teacher.data.tags["mlflow.parentRunId"] == run.info.run_id
    version = tags.get("mlflow.source.git.commit")
    result = json.loads(next(tmp_path.glob("outputs/gmp_star-rte-*/result.json")).read_text())
    assert version == result["git"].get("commit")


def test_a_sweeps_teacher_stands_under_the_sweep_whose_name_is_what_varies(small, tmp_path):
    words = [*tracked(small), "task=rte", "latency_rows=0", "recipe=kd,finetune", "teacher.seed=1"]
    assert plmc("train", "-m", *words).code == 0
    _, found = runs(tmp_path)
    assert "sweep recipe=kd,finetune" in found, list(found)
    sweep = found["sweep recipe=kd,finetune"]
    parents = {name: run.data.tags.get("mlflow.parentRunId") for name, run in found.items() if run is not sweep}
    assert len(parents) == 3 and set(parents.values()) == {sweep.info.run_id}


def test_the_card_has_what_the_hub_reads_and_what_a_reader_asks(small, tmp_path):
    words = [*small, "recipe=kd", "task=rte", "latency_rows=4", "quantize=int8"]
    plmc("train", *words)
    run = next(tmp_path.glob("outputs/kd-rte-*"))
    result = json.loads((run / "result.json").read_text())
    for path, place in ((run / "README.md", "model"), (run / "model" / "README.md", ".")):
        card = ModelCard.load(path)
        text = card.text
        assert card.data.pipeline_tag == "text-classification" and card.data.metrics == ["accuracy"]
        assert "| lr | 5e-05 |" in text and "| batch size | 32 |" in text
        assert "- 0: `entailment`" in text and "- 1: `not_entailment`" in text
        assert f"torch {result['versions']['torch']}" in text
        assert f'model="{place}")' in text
        if "size_bytes" in result["exports"]["onnx-int8"]:
            assert "`export/onnx-int8`" in text
