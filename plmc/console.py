"""What a run shows while it works: rich bars on a terminal, plain lines in a log file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from plmc.world import here


def note(text: str, kind: str = "warning") -> None:
    """A line from code that serves no single run, such as a cache; on standard error, as answers go to standard
    output."""
    from rich.console import Console as RichConsole
    from rich.markup import escape

    if not here().first:
        return
    line = f"[yellow]{kind}[/] {escape(text)}" if kind else escape(text)
    RichConsole(stderr=True, highlight=False, soft_wrap=True).print(line)


class Console:
    """Bars, notes and warnings of one run. `warnings` collects what was warned of, for the result file."""

    def __init__(self, *, quiet: bool = False):
        from rich.console import Console as RichConsole

        # Of several processes the first one speaks.
        self.rich = RichConsole(quiet=quiet or not here().first, highlight=False, soft_wrap=True)
        self.warnings: list[str] = []

    def say(self, text: str) -> None:
        """A line about what happens now."""
        self.rich.print(text)

    def warn(self, text: str) -> None:
        """A warning, once each, kept for the result."""
        from rich.markup import escape

        if text not in self.warnings:
            self.warnings.append(text)
            self.rich.print(f"[yellow]warning[/] {escape(text)}")

    def each(
        self, items: Iterable[Any], label: str, total: int | None = None, *, size: Callable[[Any], int] = lambda _: 1
    ) -> Iterator[Any]:
        """Iterates with a bar; `size(item)` is how far an item moves it."""
        with _Progress(self.rich) as bar:
            task = bar.add_task(label, total)
            for item in items:
                yield item
                bar.advance(task, size(item))


class _Progress:
    """A transient rich bar on a terminal; elsewhere nothing, so that log files stay readable."""

    def __init__(self, console):
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[info]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self):
        self._bar.start()
        return self

    def __exit__(self, *exc):
        self._bar.stop()

    def add_task(self, label: str, total: int | None):
        return self._bar.add_task(label, total=total, info="")

    def advance(self, task, amount: int) -> None:
        self._bar.advance(task, amount)

    def update(self, task, done: int, info: str) -> None:
        self._bar.update(task, completed=done, info=info)


class StageBar:
    """The bar of a stage: updates done, the newest loss, rate and score; in a log file a line every 30 seconds."""

    def __init__(self, console: Console, label: str, total: int):
        self._console, self._label, self._total = console, label, total
        self._bar = _Progress(console.rich)
        self._said = time.monotonic()
        self._values: dict[str, float] = {}

    def __enter__(self):
        self._bar.__enter__()
        self._task = self._bar.add_task(self._label, self._total)
        return self

    def __exit__(self, *exc):
        self._bar.__exit__(*exc)

    def advance(self, step: int, values: Mapping[str, float]) -> None:
        """Called by the trainer at every log line and evaluation."""
        self._values |= {k: v for k, v in values.items() if k in ("loss", "samples_per_s") or k.startswith("eval/")}
        info = " ".join(f"{_SHORT.get(k, k.removeprefix('eval/'))} {v:.4g}" for k, v in self._values.items())
        self._bar.update(self._task, step, info)
        evaluated = any(k.startswith("eval/") for k in values)
        if not self._console.rich.is_terminal and (evaluated or time.monotonic() - self._said > 30):
            self._said = time.monotonic()
            self._console.say(f"  {self._label} {step}/{self._total} {info}")


_SHORT = {"samples_per_s": "rows/s"}
