"""The same command again: finished, forced, locked, cut off, damaged, on a full disk, diverged."""

import errno
import json
import os

import pytest
import torch
from commands import plmc
from filelock import FileLock
from test_bad_words import refused

from plmc.training.trainer import Trainer


@pytest.fixture
def words(small):
    """A fine-tuning of 4 updates that saves a checkpoint after each."""
    return [*small, "recipe=finetune", "task=rte", "latency_rows=0", "checkpoint.steps=1"]


@pytest.fixture
def updates(monkeypatch):
    """Steps of all updates made; `updates.stop_after` interrupts as Ctrl-C does."""

    class Log(list):
        stop_after = None

    made, before = Log(), Trainer._update

    def update(self, micro):
        if made.stop_after is not None and len(made) >= made.stop_after:
            raise KeyboardInterrupt
        before(self, micro)
        made.append(self.at.step)

    monkeypatch.setattr(Trainer, "_update", update)
    return made


def folder(tmp_path):
    return next(tmp_path.glob("outputs/finetune-rte-1-*"))


def cut_off(words, updates, tmp_path):
    """Trains 2 of the 4 updates; returns the checkpoint."""
    updates.stop_after = 2
    ended = plmc("train", *words)
    assert ended.code == 130 and "the same command goes on from here" in ended.message
    updates.stop_after = None
    return folder(tmp_path) / "stages" / "0-finetune" / "checkpoint.pt"


def test_a_finished_run_is_trained_again_only_by_force(words, updates, tmp_path):
    assert plmc("train", *words).code == 0
    first = json.loads((folder(tmp_path) / "result.json").read_text())
    again = plmc("train", *words)
    assert again.code == 0 and "finished before" in again.text and updates == [1, 2, 3, 4]
    assert plmc("train", *words, "force=true").code == 0
    assert updates == [1, 2, 3, 4] * 2
    assert json.loads((folder(tmp_path) / "result.json").read_text())["metrics"] == first["metrics"]


def test_a_run_that_was_cut_off_goes_on(words, updates, tmp_path):
    cut_off(words, updates, tmp_path)
    assert "not finished" in plmc("ls", "runs").text
    assert plmc("train", *words).code == 0
    assert updates == [1, 2, 3, 4]


def test_a_run_is_trained_by_one_process_at_a_time(words, tmp_path):
    assert plmc("train", *words).code == 0
    with FileLock(folder(tmp_path) / ".lock"):
        refused(plmc("train", *words, "force=true"), 2, "is being trained by another process")
    assert (folder(tmp_path) / "result.json").is_file()


def test_a_damaged_checkpoint_makes_the_stage_begin_again(words, updates, tmp_path):
    checkpoint = cut_off(words, updates, tmp_path)
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    ended = plmc("train", *words)
    assert (
        ended.code == 0
        and f"checkpoint {checkpoint} is damaged" in ended.text
        and "The stage begins again" in ended.text
    )
    assert updates == [1, 2, 1, 2, 3, 4]


def test_a_checkpoint_of_another_configuration_is_refused(words, updates, tmp_path):
    checkpoint = cut_off(words, updates, tmp_path)
    torch.save(torch.load(checkpoint, weights_only=True) | {"signature": "finetune-rte-9-0123456789"}, checkpoint)
    ended = plmc("train", *words)
    assert ended.code == 5 and "belongs to another configuration (finetune-rte-9-0123456789" in ended.text
    assert updates == [1, 2]


@pytest.mark.parametrize("broken", ["fsync", "save"])
def test_a_full_disk_loses_nothing(broken, words, updates, tmp_path, monkeypatch):
    cut_off(words, updates, tmp_path)

    def full(*given, **more):
        if broken == "save":  # as torch reports it
            raise RuntimeError("[enforce fail at inline_container.cc:603] . unexpected pos 64 vs 0")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync") if broken == "fsync" else (torch, "save")), full)
        ended = plmc("train", *words)
    assert ended.code == 5 and "could not be written" in ended.text and "MB free" in ended.text, ended.text
    assert "Traceback" not in ended.text and "fault of plmc" not in ended.text
    assert not list(tmp_path.rglob("*.tmp"))
    assert plmc("train", *words).code == 0
    # Without fsync not even the description of the run is written; a checkpoint that fails costs its update.
    assert updates == ([1, 2, 3, 4] if broken == "fsync" else [1, 2, 3, 3, 4])


def test_a_disk_that_is_full_for_others_is_told_as_plainly(words, monkeypatch):
    from plmc.tasks import rows

    def full(*given, **more):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(rows, "load", full)
    refused(plmc("train", *words), 5, "the disk is full. What was finished is safe")


def test_a_loss_that_is_not_finite_names_update_term_and_rows(words, monkeypatch):
    # No rate that is accepted breaks a model of this size so soon.
    huge = lambda optimizer, factor: [group.update(lr=1e30) for group in optimizer.param_groups]  # noqa: E731
    monkeypatch.setattr("plmc.training.trainer.set_rate", huge)
    ended = plmc("train", *words, "train.clip=0", "train.warmup=0%")
    assert ended.code == 5 and "Traceback" not in ended.text
    assert "stage finetune, update 2: task/ce is nan. Ids of the rows in that batch: " in ended.message
    assert len(ended.message.split("in that batch: ")[1].split(" …")[0].split(", ")) == 16


def test_weights_that_are_not_finite_are_noticed_at_once(words, zoo, tmp_path):
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    model = AutoModelForMaskedLM.from_pretrained(zoo["bert"])
    with torch.no_grad():
        model.bert.encoder.layer[0].output.dense.weight[0, 0] = float("inf")
    model.save_pretrained(tmp_path / "inf")
    AutoTokenizer.from_pretrained(zoo["bert"]).save_pretrained(tmp_path / "inf")
    ended = plmc("train", *words, "student=base", f"student.name={tmp_path / 'inf'}")
    assert (
        ended.code == 2
        and f"model {tmp_path / 'inf'}: bert.encoder.layer.0.output.dense.weight holds NaN" in ended.message
    )
