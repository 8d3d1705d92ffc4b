"""`plmc compare`: tables, significance, the Pareto picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def compare(
    words: Sequence[str],
    baseline: str | None,
    plot: Path | None,
    markdown: Path | None,
    csv: Path | None,
    outputs: Path,
) -> None:
    """Prints one table per task, and writes what was asked for."""
    from plmc.cli.targets import PICTURES, check_file
    from plmc.console import Console
    from plmc.errors import ConfigError
    from plmc.report import render
    from plmc.report.compare import compare as tables_of
    from plmc.report.pareto import plot_pareto
    from plmc.results import find
    from plmc.track import send_pending

    for path, option, endings in ((plot, "--plot", PICTURES), (markdown, "--markdown", ()), (csv, "--csv", ())):
        check_file(path, option, endings)
    console = Console()
    runs = find.find(outputs, words, console.warn)
    if not runs:
        raise ConfigError(
            f"no finished run in {outputs} matches {' '.join(words) or 'anything'}. plmc train makes one; --outputs "
            "DIR looks elsewhere."
        )
    tables = tables_of(runs, baseline)
    for table in tables:
        console.rich.print(render.rich_table(table))
        console.rich.print()
    for path, text in ((markdown, render.markdown), (csv, render.csv_text)):
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text(tables), encoding="utf-8")
            console.say(str(path))
    if plot:
        for table in tables:
            target = plot if len(tables) == 1 else plot.with_stem(f"{plot.stem}-{table.task}")
            plot_pareto(table.rows, target, metric=table.primary, title=render.title(table))
            console.say(str(target))
    # Last: nobody waits for it.
    send_pending(outputs, patience=1.0)
