"""`plmc sync`: sends to MLflow what finished runs could not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def sync(names: Sequence[str], outputs: Path, patience: float) -> int:
    """Sends the waiting events of all runs in `outputs`, or of those whose names begin with `names`; 1 if some still
    wait."""
    from plmc.console import Console
    from plmc.errors import ConfigError
    from plmc.track.pending import deliver, waiting

    if not outputs.is_dir():
        raise ConfigError(f"--outputs {outputs}: no such folder.")
    unknown = [
        name for name in names if not any(outputs.glob(f"{name}*/")) and not any(outputs.glob(f"teachers/{name}*/"))
    ]
    if unknown:
        raise ConfigError(f"{unknown[0]}: {outputs} holds no such run. `plmc ls runs` lists what is there.")
    console = Console()
    homes = [home for home in waiting(outputs) if not names or home.parent.name.startswith(tuple(names))]
    if not homes:
        console.say("nothing waits" + (f" in runs named {', '.join(names)} …" if names else f" in {outputs}"))
        return 0
    left = 0
    for delivery in deliver(console.each(homes, "runs", len(homes)), patience=patience):
        left += delivery.left
        console.say(f"{delivery.folder.name}  {delivery.sent} events sent to {delivery.uri}")
        if delivery.left:
            console.warn(f"{delivery.folder.name}: {delivery.left} events wait for {delivery.uri}: {delivery.trouble}")
    return 1 if left else 0
