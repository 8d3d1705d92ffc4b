"""`plmc ui`: MLflow's own pages on the project's store."""

from __future__ import annotations

from pathlib import Path


def ui(port: int, outputs: Path, uri: str | None) -> None:
    """Sends what is still unsent, then serves until Ctrl-C."""
    from plmc.errors import ConfigError
    from plmc.track import default_uri, send_pending
    from plmc.track.ui import serve

    if uri is None and not (outputs / "mlflow.db").is_file():
        raise ConfigError(
            f"{outputs / 'mlflow.db'} does not exist: no run was tracked here yet. Train one, or give --outputs DIR."
        )
    send_pending(outputs)
    serve(uri or default_uri(outputs), port=port)
