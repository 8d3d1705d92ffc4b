"""`plmc doctor`: is this machine fit, and what to do where it is not."""

from __future__ import annotations

from pathlib import Path


def doctor(outputs: Path) -> int:
    """Prints the checks; returns 1 if one of them stops plmc from working."""
    from rich.console import Console

    from plmc.cli import checks

    found = checks.diagnose(outputs)
    Console(highlight=False).print(checks.render(found))
    return 0
