"""GLUE and SQuAD from files: every layout, and an error with file and line for everything that is wrong."""

import gzip
import json

import pytest

from plmc.data.local import Local
from plmc.errors import ConfigError, DataError
from plmc.tasks.custom import Custom
from plmc.tasks.glue import Glue, GlueRegression
from plmc.tasks.squad import Squad

HEADS = {
    "mrpc": "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String",
    "mnli": "index\tsentence1\tsentence2\tgold_label",
    "qnli": "index\tquestion\tsentence\tlabel",
    "qqp": "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
    "stsb": "index\tsentence1\tsentence2\tscore",
    "sst2": "sentence\tlabel",
    "rte": "index\tsentence1\tsentence2\tlabel",
}


def put(folder, name, *lines):
    folder.mkdir(parents=True, exist_ok=True)
    data = ("\n".join(lines) + "\n").encode()
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)


def load(root, name, **files):
    task = (GlueRegression if name == "stsb" else Glue)(name=name)
    return Local(root=str(root), files=files).load(task)


def listed(rows):
    return [tuple(row.values()) for row in rows.select_columns([n for n in rows.column_names if n != "id"])]


@pytest.mark.parametrize("base", [".", "glue", "GLUE"])
def test_the_folder_is_found_wherever_it_lies(tmp_path, base):
    if base == "GLUE":
        root = tmp_path / "SST-2"  # the task's own folder
        put(root, "train.tsv", HEADS["sst2"], "good\t1")
    else:
        root = tmp_path
        put(tmp_path / base / "sst-2", "train.tsv", HEADS["sst2"], "good\t1")
    assert listed(load(root, "sst2")["train"]) == [("good", 1)]


def test_plain_and_packed_files_read_the_same(tmp_path):
    lines = (HEADS["rte"], '0\t"quoted\tsecond "x\tentailment', "1\tone\u2028line\ttwo\x85\tnot_entailment")
    for folder, name in (("a", "train.tsv"), ("b", "train.tsv.gz")):
        put(tmp_path / folder / "RTE", name, *lines)
    plain, packed = (listed(load(tmp_path / folder, "rte")["train"]) for folder in "ab")
    assert plain == packed == [('"quoted', 'second "x', 0), ("one\u2028line", "two\x85", 1)]


def test_windows_line_ends_are_no_part_of_the_label(tmp_path):
    put(tmp_path / "RTE", "dev.tsv", HEADS["rte"] + "\r", "0\ta\tb\tentailment\r")
    assert listed(load(tmp_path, "rte")["validation"]) == [("a", "b", 0)]


def test_cola_has_no_header_but_for_the_test_file(tmp_path):
    put(tmp_path / "CoLA", "train.tsv", "gj04\t1\t\tOur friends came.", "gj04\t0\t*\tCame our.")
    put(tmp_path / "CoLA", "dev.tsv", "sentence\tlabel", "A copy with a header.\t1")
    put(tmp_path / "CoLA", "test.tsv", "index\tsentence", "0\tBill ate.")
    splits = load(tmp_path, "cola")
    assert listed(splits["train"]) == [("Our friends came.", 1), ("Came our.", 0)]
    assert listed(splits["validation"]) == [("A copy with a header.", 1)]
    assert listed(splits["test"]) == [("Bill ate.",)] and "label" not in splits["test"].column_names


def test_mrpc_as_glue_ships_it(tmp_path):
    put(tmp_path / "MRPC", "train.tsv", "\ufeff" + HEADS["mrpc"], "1\t1\t2\ta\tb")
    put(tmp_path / "MRPC", "dev_ids.tsv", "3\t4")
    assert {k: listed(v) for k, v in load(tmp_path, "mrpc").items()} == {"train": [("a", "b", 1)]}


@pytest.mark.parametrize("layout", ["ids", "dev"])
def test_mrpc_as_its_authors_ship_it(tmp_path, layout):
    corpus = ("1\t1\t2\ta\tb", "0\t3\t4\tc\td", "1\t5\t6\te\tf")
    put(tmp_path / "MRPC", "msr_paraphrase_train.txt", "\ufeff" + HEADS["mrpc"], *corpus)
    put(tmp_path / "MRPC", "msr_paraphrase_test.txt", "\ufeff" + HEADS["mrpc"], "0\t7\t8\tg\th")
    if layout == "ids":
        put(tmp_path / "MRPC", "dev_ids.tsv", "3\t4")
    else:
        put(tmp_path / "MRPC", "dev.tsv", "\ufeff" + HEADS["mrpc"], corpus[1])
    splits = load(tmp_path, "mrpc")
    assert listed(splits["train"]) == [("a", "b", 1), ("e", "f", 1)]
    assert listed(splits["validation"]) == [("c", "d", 0)] and listed(splits["test"]) == [("g", "h", 0)]


def test_mnli_has_two_validation_splits(tmp_path):
    for stem, label in (("train", "neutral"), ("dev_matched", "entailment"), ("dev_mismatched", "contradiction")):
        put(tmp_path / "MNLI", f"{stem}.tsv", HEADS["mnli"], f"0\ta\tb\t{label}")
    put(tmp_path / "MNLI", "test_matched.tsv", "index\tsentence1\tsentence2", "0\ta\tb")
    splits = load(tmp_path, "mnli")
    assert list(splits) == ["train", "validation", "validation_mismatched", "test"]
    assert [splits[name]["label"][:] for name in list(splits)[:3]] == [[1], [0], [2]]


def test_a_subset_stands_in_for_the_whole_file_if_it_is_the_only_one(tmp_path):
    row = "1\t1\t2\ta?\tb?\t1"
    put(tmp_path / "QQP", "train_20k.tsv", HEADS["qqp"], row)
    assert listed(load(tmp_path, "qqp")["train"]) == [("a?", "b?", 1)]
    put(tmp_path / "QQP", "train_5.tsv.gz", HEADS["qqp"], row, row)
    with pytest.raises(DataError, match=r"data\.files\.train=train_20k\.tsv"):
        load(tmp_path, "qqp")
    assert len(load(tmp_path, "qqp", train="train_5.tsv.gz")["train"]) == 2
    put(tmp_path / "QQP", "train.tsv", HEADS["qqp"], row, row, row)
    assert len(load(tmp_path, "qqp")["train"]) == 3


def test_a_folder_without_training_rows_still_evaluates(tmp_path):
    put(tmp_path / "QNLI", "dev.tsv", HEADS["qnli"], "0\twho?\tthe cat\tentailment")
    assert list(load(tmp_path, "qnli")) == ["validation"]


def test_named_files_must_exist_and_name_a_split(tmp_path):
    put(tmp_path / "RTE", "dev.tsv", HEADS["rte"], "0\ta\tb\tentailment")
    with pytest.raises(DataError, match="data.files names other.tsv.*files there: dev.tsv"):
        load(tmp_path, "rte", train="other.tsv")
    with pytest.raises(ConfigError, match="rte has no such split"):
        load(tmp_path, "rte", validation_mismatched="dev.tsv")
    assert list(load(tmp_path, "rte", train=None)) == ["validation"]


def test_missing_folders_name_what_is_near(tmp_path):
    put(tmp_path / "glue" / "SST2", "train.tsv", HEADS["sst2"], "a\t1")
    with pytest.raises(DataError, match="did you mean SST2"):
        load(tmp_path, "sst2")
    with pytest.raises(DataError, match="did you mean glue"):
        load(tmp_path / "gleu", "sst2")
    with pytest.raises(ConfigError, match="data.root=DIR"):
        Local().load(Glue(name="sst2"))
    (tmp_path / "RTE").mkdir()
    with pytest.raises(DataError, match="none of train.tsv, dev.tsv, test.tsv"):
        load(tmp_path, "rte")


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("sst2", [""], "train.tsv is empty"),
        ("sst2", [HEADS["sst2"]], "holds no rows below its header"),
        ("sst2", ["text\tlabel", "a\t1"], "no column 'sentence'.*columns are: 'text', 'label'"),
        ("rte", ["index\tsentence1\tsentence2", "0\ta\tb"], "no column 'label'"),
        ("sst2", [HEADS["sst2"], "a\t1", "b"], "line 3: 1 fields where 2 are expected"),
        ("sst2", [HEADS["sst2"], "a\t1", "b\tc\t1"], "line 3: 3 fields"),
        ("sst2", [HEADS["sst2"], "a\t1", "b\t2"], "line 3: label '2'.*'negative', 'positive', '0', '1'"),
        ("rte", [HEADS["rte"], "0\ta\tb\tneutral"], "line 2: label 'neutral'"),
        ("stsb", [HEADS["stsb"], "0\ta\tb\t5.5"], "line 2: label '5.5'.*from 0 to 5"),
        ("stsb", [HEADS["stsb"], "0\ta\tb\tnan"], "line 2: label 'nan'"),
        ("stsb", [HEADS["stsb"], "0\ta\tb\thigh"], "line 2: label 'high'"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path, name, lines, message):
    folder = {"sst2": "SST-2", "rte": "RTE", "stsb": "STS-B"}[name]
    put(tmp_path / folder, "train.tsv", *lines)
    with pytest.raises(DataError, match=message):
        load(tmp_path, name)


def test_bytes_that_are_no_text_are_named(tmp_path):
    put(tmp_path / "SST-2", "train.tsv", HEADS["sst2"], "a\t1")
    path = tmp_path / "SST-2" / "train.tsv"
    path.write_bytes(path.read_bytes() + b"caf\xe9\t1\n")
    with pytest.raises(DataError, match="line 3: byte 0xe9"):
        load(tmp_path, "sst2")
    path.rename(path.with_name("train.tsv.gz"))
    with pytest.raises(DataError, match="not a whole gzip file"):
        load(tmp_path, "sst2")


def test_the_few_torn_rows_of_qqp_are_dropped_but_not_many(tmp_path):
    good = [f"{i}\t1\t2\ta?\tb?\t{i % 2}" for i in range(3000)]
    put(tmp_path / "QQP", "train.tsv", HEADS["qqp"], *good[:10], "10\t1\t2\ttorn", *good[10:])
    rows = load(tmp_path, "qqp")["train"]
    assert len(rows) == 3000 and rows["label"][:] == [i % 2 for i in range(3000)]
    put(tmp_path / "QQP", "train.tsv", HEADS["qqp"], *good[:10], "10\t1\t2\ttorn")
    with pytest.raises(DataError, match="line 12: 4 fields"):
        load(tmp_path, "qqp")


CONTEXT = "The cat sat on the mat."


def squad(*qas, context=CONTEXT):
    return json.dumps(
        {"version": "x", "data": [{"title": "T", "paragraphs": [{"context": context, "qas": list(qas)}]}]}
    )


def question(key="q", text="cat", start=4):
    answers = [{"text": text, "answer_start": start}] if text else []
    return {"id": key, "question": "Who?", "answers": answers}


@pytest.mark.parametrize(
    "name", ["train-v1.1.json", "squad/train-v1.1.json.gz", "v1.1/train.json.gz", "squad/v1.1/train.json"]
)
def test_squad_is_found_wherever_it_lies(tmp_path, name):
    put((tmp_path / name).parent, (tmp_path / name).name, squad(question()))
    rows = Local(root=str(tmp_path)).load(Squad(name="squad"))["train"]
    assert rows[0] == {
        "id": 0,
        "key": "q",
        "title": "T",
        "text_a": "Who?",
        "text_b": CONTEXT,
        "answers": {"text": ["cat"], "answer_start": [4]},
    }


def test_the_versions_do_not_mix(tmp_path):
    put(tmp_path / "v1.1", "dev.json", squad(question()))
    put(tmp_path / "v2.0", "dev.json", squad(question(), question("r", "")))
    source = Local(root=str(tmp_path))
    assert len(source.load(Squad(name="squad"))["validation"]) == 1
    rows = source.load(Squad(name="squad_v2", version="2.0"))["validation"]
    assert rows["answers"][:] == [{"text": ["cat"], "answer_start": [4]}, {"text": [], "answer_start": []}]
    put(tmp_path / "v1.1", "dev.json", squad(question("r", "")))
    with pytest.raises(DataError, match="question r: no answer.*task=squad_v2"):
        source.load(Squad(name="squad"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 2: not valid JSON"),
        ('{"rows": []}', "no 'data' of type list; found 'rows'"),
        ('{"data": [{"title": "T"}]}', "article 0: no 'paragraphs'"),
        (squad(), "holds no questions"),
        (squad({"id": "q", "question": "Who?"}), "question q: no 'answers' of type list"),
        (squad(question(), question()), "question q: this id occurs twice"),
        (squad(question(start=5)), "question q: the answer 'cat' is not at character 5"),
    ],
)
def test_what_is_wrong_in_squad_is_named(tmp_path, text, message):
    put(tmp_path, "dev-v1.1.json", text)
    with pytest.raises(DataError, match=message):
        Local(root=str(tmp_path)).load(Squad(name="squad"))


def test_nothing_for_squad(tmp_path):
    with pytest.raises(DataError, match="holds none of train-v1.1.json"):
        Local(root=str(tmp_path)).load(Squad(name="squad"))


def test_other_tasks_are_sent_elsewhere(tmp_path):
    task = Custom(test="x.csv", text=["a"], labels=["x", "y"])
    with pytest.raises(ConfigError, match="task=custom"):
        Local(root=str(tmp_path)).load(task)
