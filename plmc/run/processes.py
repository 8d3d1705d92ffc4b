"""Several processes on this machine for one run: started, watched, started again where one of them was killed."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence

from plmc.config.resolve import Run
from plmc.errors import ConfigError
from plmc.training.interrupt import Terminated
from plmc.world import started

RESTARTS = 3
"""How often a run goes on from its checkpoint after one of its processes was killed."""
_OURS = "PLMC_SPREAD"
"""Tells a process that `spread` started it."""


def check(run: Run) -> None:
    """Raises ConfigError if the number of processes that the config asks for is not that of the launcher, or if a
    method compares rows that several processes would hold."""
    asked, there = run.settings.plain.processes, started()
    if there > 1 and asked not in (None, there):
        raise ConfigError(
            f"processes={asked}, but the launcher (torchrun, accelerate) started {there}. Remove processes=, or start "
            "plmc train without a launcher."
        )
    if max(asked or 1, there) == 1:
        return
    for stage in run.stages:
        for method in stage.methods.values():
            if "whole_batch" in method.required():
                raise ConfigError(
                    f"stage {stage.name}: {method.name} compares the rows of an update with each other, which several "
                    "processes do not have in one place. Set processes=1"
                )


def wanted(run: Run) -> int:
    """How many processes are to be started: 1 where they are there already."""
    return 1 if started() > 1 else run.settings.plain.processes or 1


def spread_by_us() -> bool:
    """Whether `spread` started this process, rather than a launcher of the user's."""
    return _OURS in os.environ


def spread(words: Sequence[str], count: int) -> int:
    """Trains the run that the words describe in `count` processes; returns the exit code.

    If one is killed, all begin again from the last checkpoint, `RESTARTS` times at most. Any other end is final: it
    would come again. Raises KeyboardInterrupt if this process was told to stop, once the others have stopped.
    """
    # The workers say what is wrong; the launcher's tables of process numbers help nobody.
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    # Without it the second rendezvous of a restart waits for the store of the first (torch 2.13).
    os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    os.environ[_OURS] = "1"
    try:
        return _watched(words, count)
    finally:
        del os.environ[_OURS]


def _watched(words: Sequence[str], count: int) -> int:
    from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from plmc.console import note

    for left in range(RESTARTS, -1, -1):
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id=f"plmc-{os.getpid()}-{left}",
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(),
        )
        try:
            elastic_launch(config, sys.executable)("-m", "plmc", "train", *words)
        except ChildFailedError as error:
            codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
        except SignalException as stop:
            raise (KeyboardInterrupt if stop.sigval == signal.SIGINT else Terminated) from None
        else:
            return 0
        killed = _killed(codes)
        if killed is None:
            return codes.get(0) or next(iter(codes.values()))
        if left:
            note(f"process {killed} of {count} was killed. All go on from the last checkpoint ({left} restarts left).")
    note(f"a process was killed {RESTARTS + 1} times. The same command goes on from the last checkpoint.", "error")
    return 1


def _killed(codes: Mapping[int, int]) -> int | None:
    """The process that a signal ended, other than the one by which the launcher ends the others."""
    return next((rank for rank, code in codes.items() if code < 0 and -code != signal.SIGTERM), None)
