"""`plmc bench`: latency, throughput, memory and size of models side by side, in one run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from plmc.benchmark.race import Options, measured


def bench(
    names: Sequence[str], options: Options, json_file: Path | None, plot_file: Path | None, outputs: Path
) -> None:
    """Runs the benchmark, prints it, writes what was asked for, and keeps the figures in each run's folder."""
    from rich.markup import escape

    from plmc.cli.targets import PICTURES, check_file
    from plmc.console import Console
    from plmc.files import write_json
    from plmc.report import speed
    from plmc.results import measurements

    check_file(json_file, "--json", (".json",))
    check_file(plot_file, "--plot", PICTURES)
    console = Console()
    result = measured(
        [name for name in names if "=" not in name], [n for n in names if "=" in n], options, outputs, console
    )
    for line in speed.headline(result):
        console.say(f"[dim]{escape(line)}[/]")
    console.say("")
    for table in speed.shown(result):
        console.rich.print(table)
    for line in result["notes"]:
        console.say(f"[dim]{escape(line)}[/]")
    if json_file:
        write_json(json_file, result)
        console.say(str(json_file))
    if plot_file:
        from plmc.benchmark.plot import plot

        plot(result, plot_file)
        console.say(str(plot_file))
    for run, records in measurements.by_run(result).items():
        measurements.keep(run, records)
        console.say(str(run / measurements.FILE))
    for run, records in measurements.by_run(result).items():
        measurements.log(run, records, console.warn)
