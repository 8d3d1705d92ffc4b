"""Two processes of one script, as a launcher starts them."""

import os
import socket
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent.parent


def pair(*words, folder, **options):
    """Two processes of one script, as a launcher starts them."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    path = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    made = []
    for rank in range(2):
        told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
        env = {**os.environ, **{k: str(v) for k, v in told.items()}, "MASTER_ADDR": "localhost", "PYTHONPATH": path}
        output = (folder / f"{rank}.log").open("w")
        made.append(
            subprocess.Popen([sys.executable, *words], env=env, stdout=output, stderr=subprocess.STDOUT, **options)
        )
    return made
