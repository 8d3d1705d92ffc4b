"""The name of a run: of what it depends on, and of nothing else."""

import importlib.util
import re
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import pytest

from plmc.config import compose
from plmc.config.identity import hashed, plain
from plmc.config.resolve import resolve
from plmc.core.fields import Added, Checked, Share
from plmc.methods.average.swa import SWA
from plmc.methods.prune.gmp import GMP

BASE = ["data=embedded", "task=sst2", "teacher=minilm-l6", "recipe=kd", "method=[gmp,swa]"]


def composed(*words: str) -> dict[str, Any]:
    return compose.plain(compose.compose([*BASE, *words]))


def signature(config: dict[str, Any]) -> str:
    return resolve(config).signature


@pytest.fixture(scope="module")
def usual():
    return signature(composed())


def test_a_module_that_is_renamed_makes_no_other_run(usual):
    """The class is loaded once more from the same file under another module's name, as if the file had moved."""
    spec = importlib.util.spec_from_file_location("plmc.elsewhere.gradual", sys.modules[GMP.__module__].__file__)
    module = importlib.util.module_from_spec(spec)
    sys.modules["plmc.elsewhere"], sys.modules[spec.name] = type(sys)("plmc.elsewhere"), module
    try:
        spec.loader.exec_module(module)
        config = composed()
        assert module.GMP is not GMP and module.GMP.__module__ == "plmc.elsewhere.gradual"
        config["methods"]["gmp"]["_target_"] = "plmc.elsewhere.gradual.GMP"
        assert signature(config) == usual
        module.GMP.__name__ = "Other"
        assert signature(config) != usual
    finally:
        del sys.modules["plmc.elsewhere"], sys.modules[spec.name]


@pytest.mark.parametrize(
    "word",
    [
        "methods.gmp.final=0.8",
        "methods.swa.begin=80%",
        "methods.kd.temperature=3",
        "seed=2",
        "budget.steps=10",
        "train.lr=1e-4",
        "task.max_length=32",
        "teacher.lr=1e-5",
        "student=same",
        "budget.train_rows=50",
        "teacher.seed=2",
        "budget.lr=1e-3",
        "method=[swa,gmp]",
        "method=[gmp]",
    ],
)
def test_what_changes_the_result_makes_another_run(usual, word):
    assert signature(composed(word)) != usual


@pytest.mark.parametrize(
    "word",
    [
        "threads=1",
        "device=cpu",
        "log_every=3",
        "latency_rows=0",
        "force=true",
        "tracking=off",
        "checkpoint.seconds=5",
        "quantize=int8",
        "output_dir=elsewhere",
        "methods.kd.temperature=2",
        "methods.kd.temperature=2.0",
        "methods.gmp.final=90%",
        "methods.gmp.ranking=global",
        "recipe.title=Another",
        "budget.epochs=null",
    ],
)
def test_what_changes_no_result_and_defaults_said_aloud_make_no_other_run(usual, word):
    assert signature(composed(word)) == usual


def test_two_precisions_are_two_runs():
    assert signature(composed("precision=bf16")) != signature(composed("precision=fp32"))


def test_a_teacher_nobody_looks_at_is_no_part_of_a_run():
    words = ["recipe=finetune", "student=base", "student.name=org/model"]
    assert signature(composed(*words)) == signature(composed(*words, "teacher.lr=1e-5", "teacher.seed=9"))


def test_files_count_by_their_content_and_not_by_their_place(tmp_path):
    rows = "text,label\n" + "".join(f"a film of {n} parts,{n % 2}\n" for n in range(40))
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        (folder / "rows.csv").write_text(rows)

    def of(folder: Path) -> str:
        files = [f"task.{split}={folder}/rows.csv" for split in ("train", "validation")]
        return signature(composed("task=custom", "task.text=[text]", *files))

    before = of(here)
    assert of(there) == before
    (there / "rows.csv").write_text(rows + "one more,1\n")
    assert of(there) != before


def test_models_and_folders_of_data_count_by_their_content(tmp_path):
    model = tmp_path / "one"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"weights")
    shutil.copytree(model, tmp_path / "two")
    assert plain(str(model)) == plain(str(tmp_path / "two")) != plain(str(tmp_path))
    for name in ("tokenizer.json", "vocab.txt"):  # the same weights that read text otherwise
        (tmp_path / "two" / name).write_text("{}")
        assert plain(str(model)) != plain(str(tmp_path / "two"))
        (tmp_path / "two" / name).unlink()
    (tmp_path / "two" / "model.safetensors").write_bytes(b"others!")
    assert plain(str(model)) != plain(str(tmp_path / "two"))
    file = tmp_path / "text.txt"
    file.write_text("a")
    assert plain([str(file)]) == [f"file {hashed_file(file)}"] and plain(str(tmp_path / "none")) == str(
        tmp_path / "none"
    )


def hashed_file(path: Path) -> str:
    from plmc.digests import of_file

    return of_file(path)[:16]


def test_objects_are_told_by_class_and_all_their_fields():
    swa = SWA(name="swa")
    assert plain(swa) == {"": "plmc:SWA", "name": "swa", "begin": "75%", "every": 1, "lr": None}
    assert plain(replace(swa, lr=2.0))["lr"] == 2 and isinstance(plain(4.0), int) and plain(0.5) == 0.5
    assert plain({"b": swa, "a": swa}) == [["b", plain(swa)], ["a", plain(swa)]]
    assert plain({"b": 1, "a": (True, None)}) == {"b": 1, "a": [True, None]}
    assert re.fullmatch("[0-9a-f]{10}", hashed({"b": 1, "a": 2})) and hashed({"b": 1, "a": 2}) == hashed(
        {"a": 2, "b": 1}
    )
    assert hashed({"a": True}) != hashed({"a": 1})
    with pytest.raises(TypeError, match="object"):
        plain(object())


def test_a_field_added_later_counts_only_where_it_means_something_new():
    @dataclass
    class Before(Checked):
        p: Share = 0.5

    @dataclass
    class Now(Checked):
        p: Share = 0.5
        mode: Annotated[str, Added("old")] = "old"
        count: int = 3

    Now.__name__ = Now.__qualname__ = "Before"
    for cls in (Before, Now):
        cls.__module__ = __name__
    assert plain(Now()) == {**plain(Before()), "count": 3}
    assert plain(Now(mode="new")) == {**plain(Now()), "mode": "new"}
