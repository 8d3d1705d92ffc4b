"""Stages that refer to each other, from the command line: shared ones, own teachers, several feeds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from commands import SMALL, plmc
from safetensors.torch import load_file

from plmc.training.trainer import Trainer

KD = {"kd": {"_target_": "plmc.methods.distill.logit_kd.LogitKD"}}
LOSS = {"task": {"_target_": "plmc.methods.distill.task_loss.TaskLoss"}}


def recipe(folder: Path, **stages) -> tuple[str, ...]:
    """A recipe of the user's own, and the words that choose it."""
    (folder / "mine" / "recipe").mkdir(parents=True, exist_ok=True)
    (folder / "mine" / "recipe" / "graph.yaml").write_text(yaml.safe_dump({"name": "graph", "stages": stages}))
    return "recipe=graph", f"--config-dir={folder / 'mine'}"


def result() -> tuple[Path, dict]:
    (path,) = Path("outputs").glob("*/result.json")
    return path.parent, json.loads(path.read_text())


def encoder(folder: Path) -> dict[str, torch.Tensor]:
    return {k: v for k, v in load_file(folder / "model.safetensors").items() if k.startswith("bert.encoder")}


def largest(one: dict, other: dict) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def test_a_shared_task_is_trained_once_and_what_comes_next_starts_from_it(zoo):
    words = (*SMALL, "recipe=intermediate", f"teacher.name={zoo['bert']}", "teacher=base", "student=same")
    still = ("recipe.stages.target.lr=1e-12", "recipe.stages.source.lr=1e-2", "recipe.stages.source.epochs=4")
    one = plmc("train", *words, *still, "task=rte")
    assert one.code == 0 and "shared stage source is trained on mnli" in one.text, one.text
    (source,) = Path("outputs/teachers").glob("source-mnli-*/model")
    run, record = result()
    moved = largest(encoder(source), encoder(zoo["bert"]))
    assert largest(encoder(source), encoder(run / "model")) < 1e-8 < 1e-3 < moved
    assert [stage["name"] for stage in record["stages"]] == ["target"] and record["teacher"]["metrics"] is None
    heads = [
        load_file(folder / "model.safetensors")["classifier.weight"].shape[0] for folder in (source, run / "model")
    ]
    assert heads == [3, 2]
    two = plmc("train", *words, *still, "task=mrpc")
    assert two.code == 0 and "shared stage" not in two.text, two.text
    # What the student's training is, is nothing to a shared stage.
    three = plmc("train", *words, *still, "task=mrpc", "method=[swa]", "train.weight_decay=0.1")
    assert three.code == 0 and "shared stage" not in three.text, three.text
    other = plmc("train", *words, *still, "task=mrpc", "recipe.stages.source.task=qnli")
    assert other.code == 0 and "shared stage source is trained on qnli" in other.text, other.text


def test_half_of_the_layers_are_taken_from_a_shared_stage_of_the_whole_model(zoo, tmp_path):
    graph = recipe(
        tmp_path,
        source={"shared": True, "student": "teacher", "methods": LOSS, "task": "mnli"},
        distil={"student": "source", "lr": 1e-12, "methods": LOSS},
    )
    ended = plmc("train", *SMALL, *graph, f"teacher.name={zoo['bert']}", "teacher=base", "task=rte")
    assert ended.code == 0, ended.text
    (source,) = Path("outputs/teachers").glob("source-mnli-*/model")
    run, _ = result()
    whole, half = encoder(source), encoder(run / "model")
    for name, value in half.items():  # 4 layers to 2 keeps the first and the last
        there = name.replace("layer.1.", "layer.3.")
        assert torch.allclose(value, whole[there], rtol=0, atol=1e-8)
    assert len(half) * 2 == len(whole)


def test_a_student_of_another_model_does_not_start_from_a_stage_and_is_told(zoo, tmp_path):
    graph = recipe(
        tmp_path,
        source={"shared": True, "student": "teacher", "methods": LOSS},
        distil={"student": "source", "methods": KD},
    )
    words = (f"teacher.name={zoo['bert']}", "teacher=base", f"student.name={zoo['distilbert']}", "student=base")
    ended = plmc("train", *SMALL, *graph, *words, "task=rte")
    assert ended.code == 0 and "which source is not made of" in ended.message, ended.text


def assistant(folder: Path) -> tuple[str, ...]:
    """The teacher teaches an assistant, and that the student, who begins anew."""
    return recipe(
        folder,
        assistant={"methods": KD},
        distil={"student": "fresh", "teachers": "assistant", "methods": KD},
    )


def test_a_stage_learns_from_one_before_it(zoo, tmp_path):
    words = (*SMALL, *assistant(tmp_path), f"teacher.name={zoo['bert']}", "teacher=base", "task=rte")
    ended = plmc("train", *words, "recipe.stages.distil.lr=1e-12", "train.lr=1e-2")
    assert ended.code == 0, ended.text
    run, record = result()
    assert (run / "models" / "assistant" / "config.json").is_file()
    # A student that begins anew and does not move is the one it began as, not the assistant.
    given = {k: v for k, v in encoder(zoo["bert"]).items() if "layer.0." in k}
    assert largest(given, encoder(run / "model")) < 1e-8
    assert largest(given, encoder(run / "models" / "assistant")) > 1e-3
    assert any(name.startswith("models/assistant/") for name in record["files"])


def test_killed_between_teaching_stages_it_ends_as_if_it_had_not_been(zoo, tmp_path, monkeypatch):
    words = (
        *SMALL,
        *assistant(tmp_path),
        f"teacher.name={zoo['bert']}",
        "teacher=base",
        "task=rte",
        "checkpoint.steps=2",
    )
    assert plmc("train", *words, "output_dir=whole").code == 0
    update, count = Trainer._update, 0

    def dies(self, micro):
        nonlocal count
        count += 1
        if count == 11:  # the teacher's 4, the assistant's 4, and the student's third
            raise RuntimeError("killed")
        update(self, micro)

    monkeypatch.setattr(Trainer, "_update", dies)
    assert plmc("train", *words, "output_dir=cut").code != 0
    monkeypatch.setattr(Trainer, "_update", update)
    again = plmc("train", *words, "output_dir=cut")
    assert again.code == 0 and "stage assistant  finished before" in again.text, again.text
    one, two = (next(Path(root).glob("graph-*/model")) for root in ("whole", "cut"))
    assert largest(load_file(one / "model.safetensors"), load_file(two / "model.safetensors")) == 0


def test_a_trimmed_vocabulary_does_not_fit_a_student_that_begins_anew(zoo, tmp_path):
    trim = {"trim": {"_target_": "plmc.methods.prune.vocabulary.VocabularyTrim"}}
    graph = recipe(tmp_path, one={"methods": LOSS | trim}, two={"student": "fresh", "methods": LOSS})
    ended = plmc("train", *SMALL, *graph, f"teacher.name={zoo['bert']}", "teacher=base", "task=rte")
    assert ended.code == 2 and "Move the method that trims to the last stage" in ended.message, ended.text


@pytest.mark.parametrize("mix", ["shuffled", "in_turn", "together"])
def test_two_teachers_two_feeds_and_every_way_to_mix_them(zoo, tmp_path, mix):
    feeds = {"own": {"share": 3}, "text": {"corpus": "embedded", "rows": 30, "share": 1}}
    graph = recipe(tmp_path, distil={"teachers": ["teacher", "big"], "feeds": feeds, "mix": mix, "methods": KD})
    big = ("+teacher@teachers.big=base", f"teachers.big.name={zoo['electra']}")
    words = (*SMALL, *graph, *big, f"teacher.name={zoo['bert']}", "teacher=base")
    ended = plmc("train", *words, "task=rte")
    assert ended.code == 0 and ended.text.count("is fine-tuned on rte") == 2, ended.text
    shown = plmc("show", *words, "task=rte")
    assert f"own: rte (share 3); text: embedded (share 1); {mix}" in shown.text, shown.text
    assert "learns from  teacher, big" in shown.text


def test_rows_of_another_task_of_the_same_classes(zoo, tmp_path):
    graph = recipe(tmp_path, distil={"feeds": {"own": {}, "more": {"task": "qnli", "rows": 20}}, "methods": KD})
    ended = plmc("train", *SMALL, *graph, f"teacher.name={zoo['bert']}", "teacher=base", "task=rte", "budget.epochs=1")
    assert ended.code == 0, ended.text


def test_other_rows_of_a_feed_or_a_stage_are_another_run(tmp_path):
    """Their files are known by content, as those of the run's own task."""
    from plmc.config.compose import compose, plain
    from plmc.config.resolve import resolve

    for name in ("RTE", "QNLI"):
        (tmp_path / name).mkdir()
        for split in ("train", "dev"):
            (tmp_path / name / f"{split}.tsv").write_text("index\tsentence1\tsentence2\tlabel\n")
    for at in ({"task": "qnli"}, {"feeds": {"more": {"task": "qnli"}}}):
        graph = recipe(tmp_path, one={**at, "methods": LOSS})
        words = [
            *graph,
            "task=rte",
            "data=local",
            f"data.root={tmp_path}",
            "teacher=none",
            "student=base",
            "student.name=x",
        ]
        before = resolve(plain(compose(words))).signature
        path = tmp_path / "QNLI" / "train.tsv"
        path.write_text(path.read_text() + "0\ta\tb\tentailment\n")
        assert resolve(plain(compose(words))).signature != before


@pytest.mark.parametrize(
    "stages, said",
    [
        ({"one": {"feeds": {"more": {"task": "mnli"}}, "methods": KD}}, "classification with 3 outputs"),
        (
            {"one": {"feeds": {"own": {}, "t": {"corpus": "embedded", "share": 1}}, "methods": KD}},
            "some feeds have a share",
        ),
        ({"one": {"feeds": {"own": {"shares": 1}}, "methods": KD}}, "Feed has no such field"),
        ({"one": {"feeds": {"own": {"task": "rte", "corpus": "embedded"}}, "methods": KD}}, "not both"),
        ({"one": {"task": "mlni", "methods": KD}}, "there is no such task. Did you mean mnli"),
        ({"one": {"student": {"name": "x"}, "methods": KD}}, "one.shared=true"),
        ({"one": {"teachers": "tow", "methods": KD}}, "refers to tow"),
        ({"one": {"teachers": [], "methods": KD}}, "learns from a teacher, but there is none"),
        (
            {"one": {"task": "mnli", "methods": LOSS}, "two": {"teachers": "one", "methods": KD}},
            "stage two learns rte from the answers of stage one, which answers mnli",
        ),
        (
            {
                "one": {"methods": LOSS},
                "two": {
                    "teachers": ["teacher", "one"],
                    "methods": {"layers": {"_target_": "plmc.methods.distill.layers_kd.LayersKD", "map": "uniform"}},
                },
            },
            "layers compares with one teacher, and the stage has 2: teacher, one. Name one: recipe.stages.two.teachers",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(zoo, tmp_path, stages, said):
    graph = recipe(tmp_path, **stages)
    ended = plmc("train", *SMALL, *graph, f"teacher.name={zoo['bert']}", "teacher=base", "task=rte")
    assert ended.code == 2 and said in ended.message and "updates of" not in ended.text, ended.text


def test_a_method_that_makes_rows_anew_needs_feeds_without_shares(zoo, tmp_path):
    augment = {"augment": {"_target_": "plmc.methods.augment.word_replace.Augment", "n": 1, "candidates": "embeddings"}}
    feeds = {"own": {}, "more": {"task": "qnli", "rows": 20}}
    graph = recipe(tmp_path, distil={"feeds": feeds, "mix": "together", "methods": LOSS | augment})
    words = (f"teacher.name={zoo['bert']}", "teacher=base", "task=rte")
    ended = plmc("train", *SMALL, *graph, *words)
    assert ended.code == 2 and "no longer tell which feed they are of" in ended.message, ended.text
    assert plmc("train", *SMALL, *graph, *words, "recipe.stages.distil.mix=shuffled").code == 0


@pytest.mark.parametrize(
    "word, said",
    [
        ("recipe.stages.distil.corpus=book.txt", "recipe.stages.distil.task.corpus=…"),
        ("recipe.stages.distil.corpus_rows=9", "recipe.stages.distil.feeds.text.rows=…"),
        ("teacher.mlm.head_epochs=2", "teacher.head_epochs"),
    ],
)
def test_words_of_earlier_versions_are_answered_with_those_of_today(word, said):
    ended = plmc("validate", "recipe=distilbert", "task=sst2", word)
    assert ended.code == 2 and said in ended.message, ended.text


def test_a_stage_that_nobody_names_is_not_trained(zoo):
    words = (*SMALL, "recipe=prune_ofa", f"teacher.name={zoo['bert']}", "teacher=base", "task=rte")
    own = ("recipe.stages.prune.student=teacher", "recipe.stages.prune.teachers=teacher")
    text = ("recipe.stages.prepare.task.corpus=embedded", "recipe.stages.prepare.task.rows=60")
    ended = plmc("train", *words, *own, *text)
    assert ended.code == 0 and "prepare" not in ended.text, ended.text
