"""Files of the user's own: what is wrong in them, where, and that changed rows are another run."""

import json
import random
import shutil

import pytest
from commands import plmc
from test_bad_words import refused

WORDS = "the old new boat house river harbour tree is was lies near far dark bright cold warm green red".split()


def table(path, rows: int = 24, seed: int = 0, labels=("no", "yes"), text: str = "sentence"):
    """A CSV file of random sentences."""
    draw = random.Random(seed)
    lines = [f"{text},label"]
    lines += [f"{' '.join(draw.choices(WORDS, k=6))} {seed},{labels[i % len(labels)]}" for i in range(rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def own(small, tmp_path):
    """Words of a custom task on two good files."""
    table(tmp_path / "train.csv", 32, 1)
    table(tmp_path / "dev.csv", 24, 2)
    words = [word for word in small if not word.startswith("data.")]
    return [
        *words,
        "task=custom",
        "task.train=train.csv",
        "task.validation=dev.csv",
        "task.text=[sentence]",
        "latency_rows=0",
    ]


HEAD = "sentence,label\n"
FILES = {
    "missing": (None, "dev.csv does not exist"),
    "empty": ("", "dev.csv is empty"),
    "header alone": (HEAD, "dev.csv holds no rows below its header (sentence, label)"),
    "label out of range": (
        HEAD + "a tree,2\n",
        "dev.csv, line 2: label '2' in column 'label'; allowed are 'no', 'yes',",
    ),
    "no label column": ("sentence,lable\na tree,yes\n", "dev.csv has no column 'label' (the label). Its columns"),
    "no text column": ("text,label\na tree,yes\n", "dev.csv has no column 'sentence' (a text)"),
    "too many fields": (HEAD + "a tree, a boat,yes\n", "dev.csv, line 2: 3 fields where 2 are expected"),
    "a zero byte": (HEAD + "a tree\0,yes\n", "dev.csv, line 2: a zero byte"),
    "open quote": (HEAD + '"a tree,yes\n', "dev.csv, line 2: not valid CSV"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("verb", ["train", "validate"])
def test_a_broken_file_is_named_with_its_line(name, verb, own, tmp_path):
    content, message = FILES[name]
    (tmp_path / "dev.csv").unlink()
    if content is not None:
        (tmp_path / "dev.csv").write_text(content)
    refused(plmc(verb, *own), 3, message)


@pytest.mark.parametrize(
    "words, code, message",
    [
        (["task.train=null", "task.validation=null"], 2, "task=custom needs files"),
        (["task.validation=null"], 3, "has no validation rows"),
        (["task.train=nowhere.csv"], 3, "nowhere.csv does not exist"),
        (["task.train=train.xlsx"], 3, "cannot tell the format from the name"),
        (["task.text=[sentnce]"], 3, "has no column 'sentnce' (a text)"),
        (["task.text=[]"], 2, "needs one or two text columns"),
        (["task.kind=ranking"], 2, "choose classification or regression"),
        (["task.max_length=4000"], 2, "task.max_length=512"),
    ],
)
def test_wrong_words_about_files_are_refused(words, code, message, own):
    refused(plmc("train", *own, *words), code, message)


def test_a_regression_refuses_words_as_labels(own):
    message = "train.csv, line 2: label 'no' in column 'label'; expected a finite number"
    refused(plmc("train", *own, "task.kind=regression"), 3, message)


@pytest.mark.parametrize(
    "words, message",
    [
        (["data=local"], "data.root=DIR"),
        (["data=local", "data.root=nowhere"], "nowhere"),
    ],
)
def test_local_data_that_are_not_there(words, message, small):
    words = [*(word for word in small if not word.startswith("data")), "task=rte", *words]
    ended = plmc("train", *words)
    assert ended.code in (2, 3), ended.text
    refused(ended, ended.code, message)


def test_own_rows_train_and_changed_rows_are_another_run(own, tmp_path, monkeypatch):
    first = plmc("train", *own, "recipe=finetune")
    assert first.code == 0, first.text
    assert "finished before" in plmc("train", *own, "recipe=finetune").text

    # The same file from another folder is the same run; so says its signature.
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    moved = [word.replace("=train.csv", "=../train.csv").replace("=dev.csv", "=../dev.csv") for word in own]
    here = plmc("validate", *moved, "recipe=finetune").text.split()[-1]
    monkeypatch.chdir(tmp_path)
    assert (
        here == plmc("validate", *own, "recipe=finetune").text.split()[-1] == first.text.split()[-1].rsplit("/", 1)[1]
    )

    table(tmp_path / "dev.csv", 24, 3)
    assert plmc("validate", *own, "recipe=finetune").text.split()[-1] != here
    result = json.loads(next(tmp_path.glob("outputs/finetune-custom-*/result.json")).read_text())
    assert result["data_source"] == "custom"


def signature(*words: str) -> str:
    ended = plmc("validate", *words)
    assert ended.code == 0, ended.text
    return ended.text.split()[-1]


def test_changed_files_below_data_root_are_another_run(tmp_path, small):
    folder = tmp_path / "glue" / "SST-2"
    folder.mkdir(parents=True)
    for name in ("train", "dev"):
        (folder / f"{name}.tsv").write_text("sentence\tlabel\na dull hour\t0\na bright hour\t1\n")
    words = [word for word in small if not word.startswith("data")]
    words += ["task=sst2", "data=local", f"data.root={tmp_path / 'glue'}"]
    before = signature(*words)
    assert signature(*words) == before
    (folder / "train.tsv").write_text("sentence\tlabel\na dull hour\t1\na bright hour\t1\n")
    assert signature(*words) != before


def test_changed_weights_of_a_model_folder_are_another_run(tmp_path, small, zoo):
    copy = tmp_path / "copy"
    shutil.copytree(zoo["bert"], copy)
    words = [*small, f"teacher.name={copy}"]
    plain, taught = signature(*words, "recipe=finetune"), signature(*words, "recipe=kd")
    with (copy / "model.safetensors").open("ab") as file:
        file.write(b"\0")
    # A teacher that nothing looks at is no part of a run, but the student's layers come from it here.
    assert signature(*words, "recipe=kd") != taught
    assert signature(*words, "recipe=finetune") != plain


def test_a_student_that_saw_the_evaluation_rows_is_refused(own, tmp_path):
    assert plmc("train", *own, "recipe=finetune").code == 0
    seen = next(tmp_path.glob("outputs/finetune-custom-*"))
    table(tmp_path / "fresh.csv", 32, 4)
    rows = ["task.train=fresh.csv", "task.validation=train.csv"]
    words = [*own, "recipe=finetune", *rows, "student=base", f"student.name={seen}"]
    refused(plmc("train", *words), 2, "was trained on 32 of the 32 validation rows", "other validation rows")


def test_rows_that_are_in_both_files_are_warned_of(own, tmp_path):
    text = (tmp_path / "train.csv").read_text().splitlines()[1:4]
    with (tmp_path / "dev.csv").open("a") as file:
        file.write("\n".join(text) + "\n")
    ended = plmc("train", *own, "recipe=finetune")
    assert ended.code == 0 and "3 of 27 validation rows are also training rows" in ended.message


def test_a_field_may_be_longer_than_pythons_own_limit(own, tmp_path):
    (tmp_path / "dev.csv").write_text(HEAD + f"a tree,no\n{'boat ' * 40_000},yes\n")
    ended = plmc("train", *own, "recipe=finetune", "teacher=none", "student=base", "student.name=" + _name(own))
    assert ended.code == 0, ended.text


def _name(words):
    return next(word for word in words if word.startswith("teacher.name=")).split("=", 1)[1]


def test_a_label_beyond_single_precision_is_refused(own, tmp_path):
    lines = [f"{text},{number}" for text, number in zip(("a tree", "a boat"), ("0.5", "1e39"), strict=True)]
    (tmp_path / "dev.csv").write_text(HEAD + "\n".join(lines) + "\n")
    table(tmp_path / "train.csv", 32, 1, labels=("0.5", "1.5"))
    refused(plmc("train", *own, "task.kind=regression"), 3, "dev.csv, line 3: label '1e39'", "below 3.4e38")


@pytest.mark.parametrize(
    "labels, question",
    [
        ([f"{i / 7:.3f}" for i in range(32)], "32 different numbers such as 0.000. Are they scores?"),
        ([f"w{i}" for i in range(32)], "holds 32 different values in 32 rows, such as 'w0'. Is it the label?"),
    ],
)
def test_labels_that_are_hardly_classes_raise_a_question(own, tmp_path, labels, question):
    table(tmp_path / "train.csv", 32, 1, labels=labels)
    refused(plmc("validate", *own), 3, question, "task.labels=[…]")
    # Whole numbers may well be classes; so may a few fractions.
    for name in ("train.csv", "dev.csv"):
        table(tmp_path / name, 64, 1, labels=[str(i) for i in range(32)])
    assert plmc("validate", *own).code == 0


def test_utf_16_is_read_like_utf_8(own, tmp_path):
    for name in ("train.csv", "dev.csv"):
        path = tmp_path / name
        path.write_text(path.read_text().replace("tree", "bäume"), encoding="utf-16")
    assert plmc("validate", *own).code == 0
