"""What a teacher says: looked up or computed, it is the same."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from plmc.errors import TrainingError
from plmc.methods.distill.layers_kd import LayersKD
from plmc.methods.distill.logit_kd import LogitKD
from plmc.methods.distill.prediction_kd import PredictionKD
from plmc.teachers.cache import Wanted, look_up, stored
from plmc.teachers.live import Live
from plmc.testing.stage import HEADS, bert, equal, rig, rows
from plmc.training.batches import training_batches

LAYERS = 2
KINDS = pytest.mark.parametrize("kind", ["classification", "span"])


def cached(folder, model, split, kind="classification", identity="teacher-1", **options):
    return stored(model, split, Wanted(HEADS[kind], **options), identity=identity, pad_id=0, cache=folder)


def from_store(columns, split, kind, **options):
    return look_up(columns, split, Wanted(HEADS[kind], **options), layers=LAYERS)


@KINDS
def test_cached_logits_equal_live_ones(tmp_path, kind):
    model, split = bert(7, kind=kind), rows(kind=kind)
    found = from_store(cached(tmp_path, model, split, kind), split, kind)
    running = Live(model, frozenset({"teacher.logits"}), HEADS[kind])
    batches = training_batches(split, batch_size=4, micro_batch=3, pad_id=0, seed=0, stage=0, start=0)
    for _ in range(8):
        for batch in next(batches).parts:
            mask = batch.inputs["attention_mask"].bool()
            one, two = found(batch).logits, running(batch).logits
            assert len(one) == len(two) == (2 if kind == "span" else 1)
            for left, right in zip(one, two, strict=True):
                assert left.shape == right.shape and left.dtype == right.dtype == torch.float32
                shown = (left[mask], right[mask]) if kind == "span" else (left, right)
                assert torch.allclose(*shown, atol=1e-6)
                if kind == "span":
                    assert torch.isneginf(left[~mask]).all()


@KINDS
@pytest.mark.parametrize("method", [LogitKD, PredictionKD])
def test_training_on_either_is_the_same(tmp_path, kind, method):
    model, split = bert(7, kind=kind), rows(kind=kind)
    source = from_store(cached(tmp_path / "cache", model, split, kind), split, kind)
    runs = [
        rig(
            {"kd": method()},
            tmp_path / name,
            model=bert(dropout=0.0, kind=kind),
            teacher=model,
            kind=kind,
            evaluate=None,
            source=given,
            lr=1e-4,
            steps=3,
        ).fit()
        for name, given in (("live", None), ("cached", source))
    ]
    for step in runs[0].logs:
        assert runs[0].logs[step]["loss"] == pytest.approx(runs[1].logs[step]["loss"], rel=1e-5)
        assert runs[0].logs[step]["grad_norm"] == pytest.approx(runs[1].logs[step]["grad_norm"], rel=1e-4)


class Counted(torch.nn.Module):
    """A model that counts its forward passes."""

    def __init__(self, model):
        super().__init__()
        self.model, self.calls = model, 0

    def forward(self, **inputs):
        self.calls += 1
        return self.model(**inputs)


def test_one_file_serves_all_who_ask_for_the_same(tmp_path):
    model, split = Counted(bert(7)), rows()
    first = cached(tmp_path, model, split)["head0"]
    calls = model.calls
    again = cached(tmp_path, model, split)["head0"]
    assert calls > 0 and model.calls == calls
    assert np.array_equal(first, again)
    assert len([path for path in (tmp_path / "teacher").iterdir() if path.is_dir()]) == 1


def test_another_teacher_other_rows_or_another_precision_are_another_file(tmp_path):
    model = Counted(bert(7))
    cached(tmp_path, model, rows())
    for options in ({"identity": "teacher-2"}, {"split": rows(seed=1)}, {"autocast": torch.bfloat16}):
        before = model.calls
        cached(tmp_path, model, **{"split": rows(), **options})
        assert model.calls > before, options


def test_two_that_ask_at_once_compute_it_once(tmp_path):
    split, model = rows(), Counted(bert(7))
    cached(tmp_path / "alone", model, split)
    once, results, model.calls = model.calls, [], 0
    begin = threading.Barrier(3)

    def ask():
        begin.wait()
        results.append(cached(tmp_path / "shared", model, split)["head0"])

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert model.calls == once
    assert all(np.array_equal(results[0], other) for other in results[1:])


def test_a_failure_leaves_nothing_that_looks_finished(tmp_path):
    class Broken(Counted):
        def forward(self, **inputs):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cached(tmp_path, Broken(bert(7)), rows())
    model = Counted(bert(7))
    cached(tmp_path, model, rows())
    assert model.calls > 0


def test_nobody_can_write_into_the_shared_file(tmp_path):
    columns = cached(tmp_path, bert(7), rows())
    with pytest.raises(ValueError, match="read-only"):
        columns["head0"][0] = 0
    batch = next(training_batches(rows(), batch_size=4, micro_batch=None, pad_id=0, seed=0, stage=0, start=0)).parts[0]
    before = np.array(columns["head0"])
    from_store(columns, rows(), "classification")(batch).logits[0].zero_()
    assert np.array_equal(before, columns["head0"])


def test_the_teacher_is_frozen_and_out_of_the_way(tmp_path):
    made = rig({"kd": LogitKD()}, tmp_path, teacher=bert(7).train())
    assert not made.teacher.training and not any(p.requires_grad for p in made.teacher.parameters())
    inside = {id(p) for p in made.trainer.objective.parameters()}
    assert not inside & {id(p) for p in made.teacher.parameters()}
    assert equal(made.model.state_dict(), {n.removeprefix("student."): v for n, v in made.weights.items()})


@KINDS
@pytest.mark.parametrize("layers", [(0, 1, 2), (1,), (0, 2)])
def test_stored_hidden_states_equal_live_ones(tmp_path, kind, layers):
    model, split = bert(7, kind=kind), rows(kind=kind)
    found = from_store(cached(tmp_path, model, split, kind, layers=layers), split, kind, layers=layers)
    running = Live(model, frozenset({"teacher.logits", "teacher.hidden_states"}), HEADS[kind])
    for batch in next(training_batches(split, batch_size=9, micro_batch=4, pad_id=0, seed=0, stage=0, start=0)).parts:
        mask = batch.inputs["attention_mask"].bool()
        one, two = found(batch).hidden_states, running(batch).hidden_states
        assert len(one) == len(two) == LAYERS + 1
        for layer, (left, right) in enumerate(zip(one, two, strict=True)):
            if layer not in layers:
                assert left is None
                continue
            assert left.shape == right.shape and left.dtype == torch.float32
            assert torch.allclose(left[mask], right[mask], atol=1e-5) and not left[~mask].any()


def test_training_on_stored_hidden_states_is_the_same(tmp_path):
    model, split = bert(7), rows()
    method = lambda: LayersKD(attention=0, map="uniform")  # noqa: E731
    store = from_store(cached(tmp_path / "cache", model, split, layers=(0, 2)), split, "classification", layers=(0, 2))
    runs = [
        rig(
            {"layers": method()},
            tmp_path / name,
            model=bert(layers=1, dropout=0.0),
            teacher=model,
            evaluate=None,
            source=given,
            lr=1e-4,
            steps=3,
        ).fit()
        for name, given in (("live", None), ("cached", store))
    ]
    for step in runs[0].logs:
        assert runs[0].logs[step]["loss"] == pytest.approx(runs[1].logs[step]["loss"], rel=1e-5)
        assert runs[0].logs[step]["grad_norm"] == pytest.approx(runs[1].logs[step]["grad_norm"], rel=1e-4)


def test_half_precision_takes_half_the_size_and_rounds(tmp_path):
    model, split = bert(7), rows()
    exact = cached(tmp_path, model, split, layers=(1,))
    half = cached(tmp_path, model, split, layers=(1,), dtype="fp16")
    for name, values in exact.items():
        assert half[name].nbytes * 2 == values.nbytes
        assert np.abs(half[name] - values).max() <= np.abs(values).max() * 2.0**-11
        assert not np.array_equal(half[name].astype(np.float32), values)
    batch = next(training_batches(split, batch_size=4, micro_batch=None, pad_id=0, seed=0, stage=0, start=0)).parts[0]
    said = from_store(half, split, "classification", layers=(1,), dtype="fp16")(batch)
    assert said.logits[0].dtype == said.hidden_states[1].dtype == torch.float32


@KINDS
def test_the_announced_size_is_that_of_the_files(tmp_path, kind):
    split, wanted = rows(kind=kind), Wanted(HEADS[kind], layers=(0, 2), dtype="fp16")
    columns = stored(bert(7, kind=kind), split, wanted, identity="teacher-1", pad_id=0, cache=tmp_path)
    assert wanted.size(outputs=3, width=32, split=split) == sum(column.nbytes for column in columns.values())


def test_a_full_disk_is_said_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("plmc.teachers.cache.shutil.disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(TrainingError, match="teacher.cache=null"):
        cached(tmp_path, bert(7), rows())
    assert not [path for path in (tmp_path / "teacher").iterdir() if path.is_dir()]
