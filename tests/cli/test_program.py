"""plmc in a program: the same names and checks as the command line."""

import json

import pytest

import plmc
from plmc.errors import ConfigError

WORDS = ("preset=[offline,smoke]", "recipe=finetune", "student=same", "task=sst2", "tracking=off")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    outputs = tmp_path_factory.mktemp("program") / "outputs"
    return plmc.train(*WORDS, f"output_dir={outputs}", quiet=True)


def test_a_run_is_trained_once_and_read_afterwards(run, capsys):
    again = plmc.train(*WORDS, f"output_dir={run.folder.parent}")
    assert again.folder == run.folder and again.record == run.record and 0 <= run.score <= 1
    assert run.record.command.startswith("plmc.train('preset=[offline,smoke]', 'recipe=finetune'")
    assert len(run.predictions()) == 32
    assert "updates" not in capsys.readouterr().out


def test_its_model_and_its_answers_are_those_of_the_command_line(run, capsys):
    from plmc.cli.predict import predict

    texts = ["a moving film", "what a mess"]
    by_name = plmc.predict(run.signature[:12], texts, outputs=run.folder.parent)
    assert by_name == plmc.predict(run.folder, texts) and {row["label"] for row in by_name} <= {"positive", "negative"}
    predict(str(run.folder), texts[:1], None, None, None, run.folder.parent)
    assert json.loads(capsys.readouterr().out) == plmc.predict(run.folder, texts[:1])[0]
    model, tokenizer = plmc.load(run.folder)
    assert not model.training
    logits = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    assert [model.config.id2label[int(i)] for i in logits.argmax(-1)] == [row["label"] for row in by_name]
    assert plmc.predict(run.folder, []) == []


def test_models_race(run):
    result = plmc.bench(run.folder, "task=sst2", batch="2", rounds=1, memory=False, bf16=False, quiet=True)
    assert len(result["records"]) == 1 and result["records"][0]["batch"] == 2 and result["records"][0]["p50_ms"] > 0


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: plmc.train("recipe=kd,finetune"), "2 runs. Call train for each"),
        (lambda: plmc.train("recipe=nd"), "kd"),
        (lambda: plmc.predict("nothing-there", ["a"]), "no such folder or run"),
        (lambda: plmc.predict("x", "a moving film"), "list of texts"),
        (lambda: plmc.load("nothing-there"), "no such folder or run"),
        (lambda: plmc.bench("x", round=3), "bench has no option round. Did you mean rounds?"),
        (lambda: plmc.bench("x", threads=100_000), "--threads 100000"),
    ],
)
def test_wrong_words_are_refused_as_on_the_command_line(call, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=says):
        call()
    assert not list(tmp_path.iterdir())


def test_the_names_are_listed_and_others_are_none():
    assert {"Chain", "Method", "Stage", "bench", "load", "predict", "train"} <= set(dir(plmc))
    assert issubclass(plmc.Method, object) and plmc.Stage(name="a", methods={}).name == "a"
    with pytest.raises(AttributeError, match="no attribute 'teach'"):
        plmc.teach  # noqa: B018
