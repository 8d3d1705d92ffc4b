"""What processes do together, with two of them; and alone, where all of it is nothing."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from pairs import pair

from plmc.world import ALONE, World, among, here


@given(st.integers(1, 9), st.integers(0, 40))
def test_shares_are_a_partition_and_even(size, count):
    shares = [World(rank, size).share(count) for rank in range(size)]
    assert [item for share in shares for item in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert max(map(len, shares)) == -(-count // size)


def test_alone_everything_is_as_it_is():
    values = torch.tensor([1.0, 2.0])
    for how in ("sum", "min", "max"):
        ALONE.join(values, how)
    assert values.tolist() == [1.0, 2.0] and here() == ALONE == World() and here().first
    assert (
        ALONE.gather("x") == ["x"] and ALONE.tell("x") == "x" and ALONE.once(lambda: 3) == ALONE.ahead(lambda: 3) == 3
    )
    with among(World(1, 2)):
        assert not here().first
    assert here().first


SCRIPT = """
import sys, time, torch
from pathlib import Path
from plmc.errors import ConfigError
from plmc.world import Elsewhere, here, together

folder = Path(sys.argv[1])
with together() as world:
    assert here() == world and world.size == 2 and world.neighbours == 2
    for how, wanted in (("sum", 3.0), ("min", 1.0), ("max", 2.0)):
        value = torch.tensor([world.rank + 1.0])
        world.join(value, how)
        assert value.item() == wanted
    assert world.gather(world.rank) == [0, 1] and world.tell(world.rank) == 0

    def once():
        assert here().size == 1
        with (folder / "calls").open("a") as file:
            file.write(f"once {world.rank}\\n")
        return {"made by": world.rank}

    assert world.once(once) == {"made by": 0}

    def ahead():
        assert here().size == 1
        if world.first:
            time.sleep(0.5)
        with (folder / "calls").open("a") as file:
            file.write(f"ahead {world.rank}\\n")
        return world.rank

    assert world.ahead(ahead) == world.rank
    world.wait()
    assert (folder / "calls").read_text().split() == ["once", "0", "ahead", "0", "ahead", "1"]

    def fails():
        raise ConfigError("no such key")

    try:
        world.once(fails)
    except Elsewhere as error:
        assert world.rank == 1 and str(error) == "no such key" and error.exit_code == 2
    except ConfigError:
        assert world.rank == 0
    else:
        raise AssertionError
    assert here() == world
assert here().size == 1
"""


def test_two_processes_agree(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("\\\\n", "\\n"))
    made = pair(script, tmp_path, folder=tmp_path)
    for rank, process in enumerate(made):
        assert process.wait(timeout=120) == 0, (tmp_path / f"{rank}.log").read_text()
