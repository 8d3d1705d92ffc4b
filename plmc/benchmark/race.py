"""Models side by side in one run: what is measured, and the result as plain values."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plmc.core.fields import check_number
from plmc.errors import ConfigError


@dataclass(frozen=True)
class Options:
    """The options of the command.

    Attributes:
        seconds: time limit of a case, None for none.
    """

    batch: str = "1,8,32"
    length: str = "real"
    threads: int = 1
    device: str = "cpu"
    rounds: int = 10
    seconds: float | None = 60.0
    warmup: int = 3
    bf16: bool = True
    exports: bool = False
    memory: bool = True
    allow: tuple[str, ...] = ()


def measured(
    names: Sequence[str], words: Sequence[str], options: Options, outputs: Path, console: Any
) -> dict[str, Any]:
    """The result as plain values: machine, contenders and one record for each case and contender."""
    from plmc.benchmark import contenders as found
    from plmc.benchmark import result
    from plmc.benchmark.cost import weigh
    from plmc.measure import host, software
    from plmc.measure.energy import Meter

    batches, lengths = _numbers(options.batch, "--batch"), _lengths(options.length)
    _check(options)
    racers = found.find(
        names,
        outputs,
        bf16=options.bf16,
        exports=options.exports,
        device=options.device,
        allow=options.allow,
    )
    software.own_bars_only()
    software.set_threads(options.threads)
    notes: list[str] = []
    with host.pinned(options.threads) as cores:
        task, cases = _cases(racers, words, batches, lengths)
        runtimes = [found.opened(racer, threads=options.threads, device=options.device) for racer in racers]
        weights = [weigh(racer) for racer in racers]
        console.say(f"{len(racers)} models, {len(cases)} cases, up to {options.rounds} rounds")
        # Taken before the race, when no other contender of ours can be in the way.
        peaks = [
            result.peaks(racer, cases, i, threads=options.threads, device=options.device, note=notes.append)
            if options.memory
            else None
            for i, racer in enumerate(racers)
        ]
        load, meter = host.Load(), Meter()
        records = result.measure(
            racers,
            cases,
            runtimes,
            weights,
            rounds=options.rounds,
            seconds=options.seconds,
            warmup=options.warmup,
            meter=meter,
            note=notes.append,
        )
        busy = load.stop()
    if meter.reason:
        notes.append(f"Energy: not available, {meter.reason}.")
    notes.append(
        "Times as fast: to the first model, sum over batches of the median over rounds; interval by bootstrap over "
        "rounds. GMACs count a row's own tokens, no padding, zeros as numbers."
    )
    return {
        "version": result.VERSION,
        "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "task": task,
        "device": options.device,
        "threads": options.threads,
        "pinned": cores,
        "load": busy,
        "machine": host.describe(options.threads),
        "contenders": [result.of_contender(*three) for three in zip(racers, weights, peaks, strict=True)],
        "records": records,
        "notes": notes,
    }


def _cases(
    racers: Sequence[Any], words: Sequence[str], batches: list[int], lengths: list[str]
) -> tuple[str | None, list[Any]]:
    from plmc.benchmark.inputs import REAL, fixed_cases, real_cases, rows_of

    cases, name = [], next((racer.task for racer in racers if racer.task), None)
    for length in lengths:
        if length == REAL:
            task, rows, _ = rows_of(racers, words)
            name = task.name
            cases += real_cases(racers, task, rows, batches)
        else:
            cases += fixed_cases(racers, int(length), batches)
    return name, cases


def _check(options: Options) -> None:
    check_number(options.rounds, "--rounds", 1, 1_000_000)
    check_number(options.threads, "--threads", 1, os.cpu_count() or 1)
    check_number(options.seconds, "--seconds", 0.001, 1e7)
    if options.device not in ("cpu", "cuda"):
        raise ConfigError(f"--device {options.device}: use cpu or cuda.")


def _numbers(text: str, option: str) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() and 0 < int(part) <= 100_000 for part in parts):
        raise ConfigError(f"{option} {text}: give whole numbers from 1 to 100000, such as {option} 1,8,32.")
    return list(dict.fromkeys(int(part) for part in parts))


def _lengths(text: str) -> list[str]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part == "real" or (part.isdecimal() and int(part) > 1) for part in parts):
        raise ConfigError(f"--length {text}: give `real` or numbers of tokens from 2 on, such as --length real,128.")
    return list(dict.fromkeys(parts))
