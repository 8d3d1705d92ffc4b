"""The leaderboard's files: names, headers, cells, and what is missing."""

import zipfile

import pytest

from plmc.errors import DataError
from plmc.tasks.glue import GLUE
from plmc.tasks.submission import FILES, write_submission


def records(name):
    task, count = name.removesuffix("_mismatched"), FILES[name][1]
    if task == "stsb":
        return [{"id": i, "prediction": i / 100 - 1} for i in range(count)]
    labels = GLUE[task].labels
    return [{"id": i, "prediction": labels[i % len(labels)], "prediction_id": i % len(labels)} for i in range(count)]


def cells(path):
    lines = path.read_text(encoding="utf-8").split("\n")
    assert lines[0] == "index\tprediction" and lines[-1] == ""
    index, values = zip(*(line.split("\t") for line in lines[1:-1]), strict=True)
    assert list(index) == [str(i) for i in range(len(index))]
    return list(values)


def test_all_files_make_a_complete_submission(tmp_path):
    done = write_submission(
        {name: records(name) for name in FILES if name != "qqp"} | {"qqp": records("qqp")}, tmp_path
    )
    assert done.missing == () and "complete" in str(done)
    with zipfile.ZipFile(done.archive) as packed:
        assert sorted(packed.namelist()) == sorted(file for file, _ in FILES.values())
        assert packed.testzip() is None
    assert cells(tmp_path / "RTE.tsv")[:2] == ["entailment", "not_entailment"]
    assert cells(tmp_path / "QNLI.tsv")[:2] == ["entailment", "not_entailment"]
    for file in ("MNLI-m.tsv", "MNLI-mm.tsv", "AX.tsv"):
        assert cells(tmp_path / file)[:3] == ["entailment", "neutral", "contradiction"]
    for file in ("CoLA.tsv", "SST-2.tsv", "MRPC.tsv", "QQP.tsv", "WNLI.tsv"):
        assert cells(tmp_path / file)[:3] == ["0", "1", "0"]


def test_scores_are_clipped_and_rounded(tmp_path):
    write_submission({"stsb": records("stsb")}, tmp_path)
    values = cells(tmp_path / "STS-B.tsv")
    assert values[0] == "0.000" and values[-1] == "5.000" and values[101] == "0.010"


def test_missing_tasks_are_named(tmp_path):
    done = write_submission({"wnli": records("wnli"), "rte": records("rte")}, tmp_path)
    assert [path.name for path in done.tables] == ["RTE.tsv", "WNLI.tsv"]
    assert set(done.missing) == {file for file, _ in FILES.values()} - {"RTE.tsv", "WNLI.tsv"}
    assert "AX.tsv" in str(done) and "RTE.tsv" not in str(done)


def test_wrong_rows_are_refused(tmp_path):
    with pytest.raises(DataError, match="146 rows"):
        write_submission({"wnli": records("wnli")[:71]}, tmp_path)
    with pytest.raises(DataError, match="not a test set"):
        write_submission({"WNLI": records("wnli")}, tmp_path)
