"""Memory that tensors freed: kept between updates, given back now and then by a process that has grown large."""

import subprocess
import sys

import pytest

from plmc.methods.distill.task_loss import TaskLoss
from plmc.testing.stage import STAGE, equal, rig
from plmc.training import memory

glibc = pytest.mark.skipif(memory._glibc() is None, reason="only glibc on Linux keeps and trims memory")

# In a process of its own: what keep() sets cannot be set back.
SCRIPT = """
import torch
from plmc.training import memory

def settle():
    block, pin = torch.ones(80_000_000), torch.ones(1000)  # 320 MB below something that stays
    before = memory.resident()
    del block
    return before, pin

if {keep}:
    memory.keep()
memory.SPARED = {spared}
before, pin = settle()
after = memory.resident()
memory.trim({step})
print(before - after, before - memory.resident())
"""


def freed(*, keep: bool, step: int = memory.EVERY, spared: int = 0) -> tuple[float, float]:
    """MB given back when a block of 320 MB is freed, and after the trim that follows."""
    command = [sys.executable, "-c", SCRIPT.format(keep=keep, step=step, spared=spared)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    at_once, in_all = done.stdout.split()
    return float(at_once) / 1e6, float(in_all) / 1e6


@glibc
def test_freed_memory_stays_until_the_next_trim():
    at_once, in_all = freed(keep=True)
    assert at_once < 30 and in_all > 290
    assert freed(keep=False)[0] > 290


@glibc
@pytest.mark.parametrize("told", [{"step": memory.EVERY + 1}, {"spared": memory.SPARED}])
def test_neither_between_two_looks_nor_in_a_small_process_is_anything_given_back(told):
    assert freed(keep=True, **told)[1] < 30


def test_a_training_that_trims_after_every_update_is_the_same_bit_for_bit(tmp_path, monkeypatch):
    def train(name):
        one = rig({"task": TaskLoss()}, tmp_path / name)
        one.trainer.fit()
        return one.model.state_dict()

    plain, looks = train("plain"), []
    monkeypatch.setattr(memory, "EVERY", 1)
    monkeypatch.setattr(memory, "resident", lambda: looks.append(1) or memory.SPARED + 1)
    assert equal(plain, train("trimmed"))
    assert len(looks) == STAGE["steps"]
