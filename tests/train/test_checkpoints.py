"""Files that a crash cannot spoil."""

import os

import pytest
import torch
from safetensors.torch import save_file

from plmc.errors import TrainingError
from plmc.files import replacing, write_json
from plmc.training.checkpoint import load, random_state, restore_random, save

STATE = {"weights": torch.arange(5.0), "step": 3, "nested": {"mask": torch.tensor([True, False])}}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_saved_is_loaded(tmp_path):
    save(tmp_path / "new" / "c.pt", STATE, signature="a")
    state = load(tmp_path / "new" / "c.pt", signature="a")
    assert torch.equal(state["weights"], STATE["weights"]) and state["step"] == 3
    assert torch.equal(state["nested"]["mask"], STATE["nested"]["mask"])
    assert names(tmp_path / "new") == ["c.pt"]


@pytest.mark.parametrize("mask, mode", [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_weights_are_as_readable_as_the_umask_says(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        with replacing(tmp_path / "model") as temporary:
            temporary.mkdir()
            save_file({"w": torch.ones(2)}, temporary / "model.safetensors")
        write_json(tmp_path / "facts.json", {})
    finally:
        os.umask(before)
    for path in (tmp_path / "model" / "model.safetensors", tmp_path / "facts.json"):
        assert path.stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, RuntimeError])
def test_a_failure_while_writing_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "c.txt"
    path.write_text("old")
    with pytest.raises(error), replacing(path) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["c.txt"]


def test_a_full_disk_is_told_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "c.txt"
    path.write_text("old")
    with pytest.raises(TrainingError, match=r"c\.txt could not be written: No space left on device \(\d+ MB free\)"):
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError(28, os.strerror(28))
    assert path.read_text() == "old"
    assert names(tmp_path) == ["c.txt"]


def test_a_failed_save_of_tensors_is_told(tmp_path, monkeypatch):
    path = tmp_path / "c.pt"
    save(path, STATE, signature="a")

    def full(content, target):
        target.write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file data.pkl: file write failed")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TrainingError, match="file write failed"):
        save(path, STATE, signature="a")
    monkeypatch.undo()
    assert load(path, signature="a")["step"] == 3
    assert names(tmp_path) == ["c.pt"]


def test_the_file_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "c.txt"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert not path.exists() and temporary.parent == tmp_path
    assert path.read_text() == "new"


def test_a_folder_replaces_a_folder(tmp_path):
    path = tmp_path / "folder"
    for content in ("old", "new"):
        with replacing(path) as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content)
    assert names(path) == ["new"]
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.mkdir()
        raise ZeroDivisionError
    assert names(tmp_path) == ["folder"] and names(path) == ["new"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TrainingError, match="could not be written"):
        save(tmp_path / "file" / "c.pt", STATE, signature="a")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_damaged(tmp_path, share):
    path = tmp_path / "c.pt"
    save(path, STATE, signature="a")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(TrainingError, match=r"c\.pt is damaged .*The same command trains this stage again"):
        load(path, signature="a")


def test_one_flipped_bit_of_a_weight_is_noticed(tmp_path):
    path, value = tmp_path / "c.pt", torch.full((64,), 0.7371)
    save(path, {"weight": value}, signature="a")
    data = bytearray(path.read_bytes())
    data[data.index(value[:1].numpy().tobytes()) + 1] ^= 1
    path.write_bytes(data)
    # torch alone would read another number.
    assert not torch.equal(torch.load(path, weights_only=True)["state"]["weight"], value)
    with pytest.raises(TrainingError, match="checksum of .* does not fit"):
        load(path, signature="a")


@pytest.mark.parametrize("content", [{"state": {}}, ["signature", "state"], 3])
def test_a_file_of_another_make_is_damaged(tmp_path, content):
    torch.save(content, tmp_path / "c.pt")
    with pytest.raises(TrainingError, match="is damaged"):
        load(tmp_path / "c.pt", signature="a")


def test_code_in_a_file_does_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "pwned"),))

    torch.save({"signature": "a", "state": Evil()}, tmp_path / "c.pt")
    with pytest.raises(TrainingError, match="is damaged"):
        load(tmp_path / "c.pt", signature="a")
    assert names(tmp_path) == ["c.pt"]


def test_another_configuration_is_refused_and_both_are_named(tmp_path):
    save(tmp_path / "c.pt", STATE, signature="kd-sst2-1-aaaa")
    with pytest.raises(TrainingError, match="kd-sst2-1-aaaa.*this run is kd-sst2-2-bbbb.*output_dir"):
        load(tmp_path / "c.pt", signature="kd-sst2-2-bbbb")


def test_json_is_written_whole(tmp_path):
    write_json(tmp_path / "done.json", {"name": "Größe", "steps": 3})
    assert (tmp_path / "done.json").read_text(encoding="utf-8") == '{\n  "name": "Größe",\n  "steps": 3\n}\n'
    with pytest.raises(TypeError):
        write_json(tmp_path / "done.json", {"weights": torch.ones(2)})
    assert "Größe" in (tmp_path / "done.json").read_text(encoding="utf-8")
    assert names(tmp_path) == ["done.json"]


def test_random_numbers_go_on_where_they_were(tmp_path):
    torch.manual_seed(3)
    save(tmp_path / "c.pt", {"random": random_state()}, signature="a")
    first = torch.rand(5)
    torch.manual_seed(4)
    restore_random(load(tmp_path / "c.pt", signature="a")["random"])
    assert torch.equal(torch.rand(5), first)
