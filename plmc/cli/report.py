"""`plmc report`: everything about the finished runs in one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def report(
    words: Sequence[str], task: str | None, baseline: str | None, out: Path, outputs: Path, command: str
) -> None:
    """Writes the file and says where it is."""
    from plmc.cli.targets import check_file
    from plmc.console import Console
    from plmc.errors import ConfigError
    from plmc.files import write_text
    from plmc.report.compare import compare
    from plmc.report.document import report as document
    from plmc.results import find

    check_file(out, "--out", (".html", ".htm"))
    console = Console()
    words = [*words, *([f"task={task}"] if task else [])]
    runs = find.find(outputs, words, console.warn)
    if not runs:
        raise ConfigError(
            f"no finished run in {outputs} matches {' '.join(words) or 'anything'}. plmc train makes one; --outputs "
            "DIR looks elsewhere."
        )
    write_text(out, document(runs, compare(runs, baseline), command))
    console.say(f"{out}  {len(runs)} runs, {out.stat().st_size / 1e6:.1f} MB, opens without network")
