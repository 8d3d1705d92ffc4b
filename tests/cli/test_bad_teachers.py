"""Teachers brought along: other labels, other label orders, other vocabularies."""

import json

import pytest
import torch
from commands import plmc
from test_bad_files import own, table  # noqa: F401
from test_bad_words import refused
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from zoo import save, word_pieces


def classifier(source, folder, texts, labels):
    """A model with a random head that splits `texts` in two halves; returns its folder and its answers."""
    config = AutoConfig.from_pretrained(source, num_labels=len(labels), id2label=dict(enumerate(labels)))
    config.label2id = {label: i for i, label in enumerate(labels)}
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(source, config=config).eval()
    tokenizer = AutoTokenizer.from_pretrained(source)
    with torch.no_grad():
        # A plain average pooled to nothing would make all texts alike.
        model.classifier.weight.mul_(50)
        inputs = tokenizer(texts, padding=True, return_tensors="pt")
        logits = model(**inputs).logits
        model.classifier.bias[1] -= (logits[:, 1] - logits[:, 0]).sort().values[(len(texts) - 1) // 2 :][:2].mean()
        answers = model(**inputs).logits.argmax(1).tolist()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder, answers


def judged(zoo, tmp_path, names):
    """A teacher whose classes are in the reverse of the task's order, no and yes, on rows that it answers without
    fault."""
    rows = [line.rsplit(",", 1)[0] for line in (tmp_path / "dev.csv").read_text().splitlines()[1:]]
    folder, answers = classifier(zoo["bert"], tmp_path / "teacher", rows, names)
    lines = [f"{text},{('yes', 'no')[answer]}" for text, answer in zip(rows, answers, strict=True)]
    (tmp_path / "dev.csv").write_text("\n".join(["sentence,label", *lines]) + "\n")
    return folder


def teacher_score(tmp_path):
    return json.loads(next(tmp_path.glob("outputs/kd-custom-*/result.json")).read_text())["teacher"]["metrics"][
        "accuracy"
    ]


def test_a_teacher_with_another_number_of_classes_is_refused(own, zoo, tmp_path):  # noqa: F811
    folder, _ = classifier(zoo["bert"], tmp_path / "teacher", ["a tree", "a boat"], ["a", "b", "c"])
    ended = plmc("train", *own, "recipe=kd", f"teacher.checkpoint={folder}")
    refused(ended, 2, "answers with 3 classes, task custom has 2 (no, yes)")


def test_a_teacher_that_was_never_fine_tuned_is_refused(own, zoo):  # noqa: F811
    refused(plmc("train", *own, "recipe=kd", f"teacher.checkpoint={zoo['bert']}"), 2, "is not fine-tuned for this task")


def test_a_teacher_that_is_not_there_is_refused(own):  # noqa: F811
    refused(plmc("train", *own, "recipe=kd", "teacher.checkpoint=./nowhere"), 2, "./nowhere: no such folder")


def test_named_classes_are_put_in_order(own, zoo, tmp_path):  # noqa: F811
    folder = judged(zoo, tmp_path, ["yes", "no"])
    ended = plmc("train", *own, "recipe=kd", f"teacher.checkpoint={folder}")
    assert ended.code == 0, ended.text
    assert "its logits are reordered by name" in ended.message
    assert teacher_score(tmp_path) == 1.0


def test_nameless_classes_in_another_order_are_noticed_on_the_rows(own, zoo, tmp_path):  # noqa: F811
    folder = judged(zoo, tmp_path, ["LABEL_0", "LABEL_1"])
    words = [*own, "recipe=kd", f"teacher.checkpoint={folder}"]
    scores = "accuracy 0.0% as they are, 100.0% as [1, 0]"
    refused(plmc("train", *words), 2, "another order than the task's (no, yes)", scores, "teacher.label_order=[1,0]")
    ended = plmc("train", *words, "teacher.label_order=[1,0]")
    assert ended.code == 0, ended.text
    assert teacher_score(tmp_path) == 1.0
    refused(plmc("train", *words, "teacher.label_order=[1,1]"), 2, "must hold 0 to 1 once each")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """A BERT with a vocabulary of its own."""
    return save(tmp_path_factory.mktemp("stranger") / "bert", "bert", tokenizer=word_pieces(300, seed=7), layers=2)


@pytest.mark.parametrize("verb", ["train", "validate"])
def test_tokens_that_do_not_match_are_refused_before_the_teacher_is_trained(verb, small, stranger):
    words = [*small, "recipe=tinybert", "task=rte", "student=base", f"student.name={stranger}"]
    refused(plmc(verb, *words), 2, "split text into different tokens", "a recipe on logits such as kd")
    span = [*small, "recipe=kd", "task=squad", "student=base", f"student.name={stranger}"]
    refused(plmc(verb, *span), 2, "compares answer positions")


def test_logits_pass_between_vocabularies(small, stranger):
    ended = plmc("train", *small, "recipe=kd", "task=rte", "student=base", f"student.name={stranger}")
    assert ended.code == 0, ended.text
    assert "different vocabularies; each reads with its own tokenizer" in ended.message


def test_a_model_without_tokenizer_is_refused(small, zoo, tmp_path):
    AutoModelForSequenceClassification.from_pretrained(zoo["bert"]).save_pretrained(tmp_path / "bare")
    ended = plmc("train", *small, "student=base", f"student.name={tmp_path / 'bare'}", "recipe=finetune")
    refused(ended, 2, "has no tokenizer files")


def test_weights_that_are_cut_short_are_refused(small, zoo, tmp_path):
    import shutil

    shutil.copytree(zoo["bert"], tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    ended = plmc("train", *small, "student=base", f"student.name={tmp_path / 'cut'}", "recipe=finetune")
    refused(ended, 2, "cannot be read")
