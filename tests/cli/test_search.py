"""A search over fields of a recipe, and what it hears of students beyond a limit."""

import json

import pytest
from commands import plmc
from test_bad_words import refused

from plmc.config.compose import explain
from plmc.config.schema import Limits
from plmc.errors import ConfigError
from plmc.results.record import Latency, Record
from plmc.run.search import excess, objective

RESULT = Record(
    signature="a",
    recipe="kd",
    task="rte",
    seed=1,
    metrics={"accuracy": 0.5},
    primary_metric="accuracy",
    student={"parameters": 1000, "size_bytes": 4_000_000},
    latency={"batch_1_ms": 2.0},
)


def test_a_job_beyond_a_limit_is_below_every_job_within():
    none = Limits()
    assert excess(RESULT, none) == {} == excess(RESULT, Limits(params=1000, megabytes=4.0, latency_ms=2.0))
    assert excess(RESULT, Limits(megabytes=2.0, latency_ms=3)) == {"megabytes": 2.0}
    assert objective(0.7, {}) == 0.7
    assert objective(1.0, {"megabytes": 2.0}) < objective(1.0, {"megabytes": 1.1}) < -1.0
    with pytest.raises(ConfigError, match="latency_rows=32"):
        excess(RESULT.model_copy(update={"latency": Latency()}), Limits(latency_ms=1.0))


@pytest.mark.parametrize(
    "word, cure",
    [
        ("hydra/sweeper=optuna", "pip install 'plmc[search]'"),
        ("hydra/launcher=joblib", "pip install 'plmc[parallel]'"),
        ("hydra/launcher=submitit_slurm", "pip install 'plmc[slurm]'"),
    ],
)
def test_a_plugin_that_is_missing_is_named_with_its_package(word, cure):
    error = Exception(f"Could not find '{word.replace('=', '/')}'")
    assert cure in explain(error, [word])


def test_a_limit_is_a_number(small):
    refused(plmc("validate", *small, "recipe=finetune", "limits.megabytes=-1"), 2, "limits.megabytes")
    words = ["validate", *small, "recipe=finetune", "limits.latency_ms=3"]
    refused(plmc(*words, "latency_rows=0"), 2, "Set latency_rows=32")
    assert plmc(*words, "latency_rows=32").code == 0


@pytest.mark.slow
def test_optuna_searches_and_again_trains_nothing(small, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="pip install 'plmc[search]'")
    words = ["train", "-m", *small, "recipe=structured", "task=rte", "limits.params=12000", "hydra/sweeper=optuna"]
    words += ["hydra.sweeper.direction=maximize", "hydra.sweeper.n_trials=3", "hydra.sweeper.sampler.seed=1"]
    words += ["methods.ffn_prune.keep=choice(0.25,1.0)", "methods.ffn_prune.multiple=1"]
    first = plmc(*words)
    assert first.code == 0 and "over the limits: params" in first.message, first.text
    results = [json.loads(path.read_text()) for path in tmp_path.glob("outputs/structured-rte-*/result.json")]
    assert len({result["student"]["parameters"] for result in results}) == 2
    again = plmc(*words)
    assert again.code == 0 and again.message.count("finished before") == 3
