"""The processes that train one run together; one process is the special case of many.

Every process goes through the whole program and holds the whole model. They differ in the rows of an update that they
compute, in the batches that they judge, and in that only the first one writes and speaks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from plmc.errors import PlmcError

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
How = Literal["sum", "min", "max"]
# A process that dies ends its connections at once. Waiting is for those that live: measuring takes its time.
PATIENCE = timedelta(days=1)


class Elsewhere(PlmcError):
    """The first process of this run failed; it says why itself."""

    def __init__(self, text: str, exit_code: int):
        super().__init__(text)
        self.exit_code = exit_code


@dataclass(frozen=True)
class World:
    """This process among those of its run.

    Attributes:
        rank: its number; 0 writes and speaks.
        size: how many there are.
        local: its number on its machine.
        neighbours: how many of them are on its machine.
    """

    rank: int = 0
    size: int = 1
    local: int = 0
    neighbours: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def share(self, count: int) -> range:
        """Which of `count` items are this process's; all processes together have each once, in their order."""
        return range(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def join(self, values: Tensor, how: How) -> None:
        """Makes of `values`, of one shape in all processes, their sum, least or largest, in place."""
        if self.size > 1:
            import torch.distributed as dist

            dist.all_reduce(values, {"sum": dist.ReduceOp.SUM, "min": dist.ReduceOp.MIN, "max": dist.ReduceOp.MAX}[how])

    def gather(self, value: T) -> list[T]:
        """The values of all processes, in their order."""
        if self.size == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def tell(self, value: T) -> T:
        """The first process's value, in all of them."""
        if self.size == 1:
            return value
        import torch
        import torch.distributed as dist

        values = [value]
        dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
        return values[0]

    def wait(self) -> None:
        """Until all processes are here."""
        self.gather(None)

    def once(self, make: Callable[[], T]) -> T:
        """What `make` gives the first process, in all of them; no other one calls it.

        Inside, the first process is alone. Raises Elsewhere in the others if it fails there.
        """
        if self.size == 1:
            return make()
        if not self.first:
            told: Any = self.tell(None)
            value, wrong = told
            if wrong:
                raise KeyboardInterrupt if wrong == _STOPPED else Elsewhere(*wrong)
            return value
        try:
            with alone():
                made = make()
        except BaseException as error:
            with suppress(RuntimeError):  # the others may be gone, too
                wrong = (str(error) or type(error).__name__, getattr(error, "exit_code", 1))
                self.tell((None, _STOPPED if isinstance(error, KeyboardInterrupt) else wrong))
            raise
        self.tell((made, None))
        return made

    def ahead(self, make: Callable[[], T]) -> T:
        """`make()` of each process, which the first calls before all others: what it wrote they find."""
        mine: list[T] = []
        self.once(lambda: mine.append(make()))
        if self.first:
            return mine[0]
        with alone():
            return make()


_STOPPED = "stopped by a signal"
ALONE = World()
"""The one process of a run."""
_here = ALONE


def here() -> World:
    """This process, as it is now."""
    return _here


@contextmanager
def alone() -> Iterator[None]:
    """Inside, this process is the only one of its run: what it does, the others do not wait for."""
    with among(ALONE):
        yield


@contextmanager
def among(world: World) -> Iterator[None]:
    """Inside, this process is what `world` says."""
    global _here
    before, _here = _here, world
    try:
        yield
    finally:
        _here = before


def started() -> int:
    """How many processes the launcher of this one (torchrun, accelerate) started; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE") or 1)


@contextmanager
def together() -> Iterator[World]:
    """Inside, this process is one of those that its launcher started; they have found each other."""
    if started() == 1:
        yield _here
        return
    import torch
    import torch.distributed as dist

    told = {name: int(os.environ.get(name) or 0) for name in ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE")}
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(told["LOCAL_RANK"] % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    if not dist.is_initialized():
        dist.init_process_group(backend, timeout=PATIENCE)
    world = World(told["RANK"], started(), told["LOCAL_RANK"], told["LOCAL_WORLD_SIZE"] or 1)
    with among(world):
        yield world


def part() -> None:
    """Ends the connections between processes: the last thing that a program does with them, since they find each other
    once."""
    if started() > 1:
        import torch.distributed as dist

        dist.destroy_process_group()
