"""The logged model loads in MLflow and says what the checkpoint says."""

import os

import pytest
import torch
from track_tools import make

from plmc.errors import ConfigError
from plmc.testing.stage import HEADS
from plmc.track import default_uri
from plmc.track.model import build_model

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "bad", "film", "text"]
PAIR = {"text": "a good film", "text_pair": "bad"}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    from transformers import BertConfig, BertForQuestionAnswering, BertForSequenceClassification, BertTokenizerFast

    root = tmp_path_factory.mktemp("checkpoints")
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    tokenizer = BertTokenizerFast(vocab={word: i for i, word in enumerate(WORDS)}, model_max_length=32)
    for kind, outputs in (("classification", 3), ("regression", 1), ("span", 2)):
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=10, max_position_embeddings=32, num_labels=outputs, initializer_range=1.0, **size
        )
        model = (BertForQuestionAnswering if kind == "span" else BertForSequenceClassification)(config)
        model.save_pretrained(root / kind)
        tokenizer.save_pretrained(root / kind)
    return root


def logits(checkpoint, *texts):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    encoded = AutoTokenizer.from_pretrained(checkpoint)(*texts, truncation=True, max_length=32, return_tensors="pt")
    with torch.inference_mode():
        return AutoModelForSequenceClassification.from_pretrained(checkpoint)(**encoded).logits[0]


@pytest.mark.parametrize("example", ["a film", PAIR], ids=["text", "pair"])
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_pyfunc_and_pipeline_agree_with_the_checkpoint(checkpoints, tmp_path, kind, example):
    import mlflow

    build_model(checkpoints / kind, tmp_path / "m", head=HEADS[kind], example=example, max_length=32)
    one = PAIR if isinstance(example, dict) else PAIR["text"]
    expected = logits(checkpoints / kind, *(one.values() if isinstance(one, dict) else [one]))
    best = expected.softmax(-1).max() if kind == "classification" else expected[0]
    answer = mlflow.pyfunc.load_model(str(tmp_path / "m")).predict([one, one])
    assert answer["score"].tolist() == pytest.approx([float(best)] * 2, abs=1e-5)
    assert set(answer["label"]) == {f"LABEL_{int(expected.argmax())}"}
    piped = mlflow.transformers.load_model(str(tmp_path / "m"))([one])
    assert piped[0]["score"] == pytest.approx(float(best), abs=1e-5)


def test_long_texts_are_cut(checkpoints, tmp_path):
    import mlflow

    build_model(
        checkpoints / "classification", tmp_path / "m", head=HEADS["classification"], example="a", max_length=32
    )
    long = "a good film " * 100
    score = mlflow.pyfunc.load_model(str(tmp_path / "m")).predict([long])["score"][0]
    assert score == pytest.approx(float(logits(checkpoints / "classification", long).softmax(-1).max()), abs=1e-5)


def test_a_span_model_answers_with_the_best_span_of_the_context(checkpoints, tmp_path):
    import mlflow

    example = {"question": "a text", "context": "good bad film"}
    build_model(checkpoints / "span", tmp_path / "m", head=HEADS["span"], example=example, max_length=32)
    answer = mlflow.pyfunc.load_model(str(tmp_path / "m")).predict([example]).iloc[0]

    parts = mlflow.transformers.load_model(str(tmp_path / "m"), return_type="components")
    encoded = parts["tokenizer"](*example.values(), return_tensors="pt")
    with torch.inference_mode():
        out = parts["model"](**encoded)
    # [CLS] a text [SEP] good bad film [SEP]: the context is tokens 4 to 6.
    words = ["good", "bad", "film"]
    spans = {
        " ".join(words[i : j + 1]): float(out.start_logits[0, 4 + i] + out.end_logits[0, 4 + j])
        for i in range(3)
        for j in range(i, 3)
    }
    best = max(spans, key=spans.get)
    assert answer["answer"] == best
    assert answer["score"] == pytest.approx(spans[best], abs=1e-5)
    long = {"question": "a text", "context": "good bad film " * 40}
    assert mlflow.pyfunc.load_model(str(tmp_path / "m")).predict([long])["answer"][0] in long["context"]


def test_weights_are_linked_and_the_checkpoint_stays_as_it_was(checkpoints, tmp_path):
    source = checkpoints / "regression"
    before = {file.name: file.read_bytes() for file in source.iterdir()}
    build_model(source, tmp_path / "m", head=HEADS["regression"], example="a")
    assert os.path.samefile(source / "model.safetensors", tmp_path / "m" / "model" / "model.safetensors")
    assert {file.name: file.read_bytes() for file in source.iterdir()} == before
    assert '"regression"' in (tmp_path / "m" / "model" / "config.json").read_text()


def test_what_is_no_model_is_refused_by_name(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="no weights.*no tokenizer"):
        build_model(tmp_path, tmp_path / "m", head=HEADS["classification"], example="a")


def test_an_example_of_another_shape_is_refused(checkpoints, tmp_path):
    with pytest.raises(ConfigError, match="question"):
        build_model(checkpoints / "span", tmp_path / "m", head=HEADS["span"], example=PAIR)


def test_the_tracker_logs_the_model_once_to_its_run(checkpoints, tmp_path):
    import mlflow

    uri = default_uri(tmp_path)
    for _ in range(2):
        tracker = make(tmp_path / "run", uri)
        tracker.start()
        tracker.model(checkpoints / "classification", head=HEADS["classification"], example="a film", step=7)
        tracker.finish()
        assert (tracker.pending, tracker.warnings) == (0, [])
    client = mlflow.MlflowClient(uri)
    outputs = client.get_run(tracker.run_id).outputs.model_outputs
    assert [output.step for output in outputs] == [7]
    logged = client.get_logged_model(outputs[0].model_id)
    assert (logged.status, logged.name, logged.source_run_id) == ("READY", "model", tracker.run_id)
    model = mlflow.pyfunc.load_model(logged.artifact_location)
    assert model.metadata.run_id == tracker.run_id and model.metadata.model_id == logged.model_id
    assert list(model.predict(["a film"]).columns) == ["label", "score"]
    assert not list((tmp_path / "run" / "tracking" / "models").iterdir())
