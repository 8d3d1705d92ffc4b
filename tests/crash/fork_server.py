"""A process that has imported everything and forks a working process per line it reads: a start costs no imports.

Speaks JSON lines. In: `{"start": [words…], "log": FILE}` or `{"wait": PID}`; out: `{"pid": …}` or `{"code": …}`. Each
child calls `plmc.run.jobs.launch`, as `plmc train` does, and is killed by whoever asked for it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

HEAVY = (
    "plmc.run.jobs",
    "plmc.run.sweep",
    "plmc.run.execute",
    "plmc.tasks.feeds",
    "plmc.data.embedded",
    "plmc.track.model",
    "plmc.tasks.glue",
    "plmc.methods.augment.word_replace",
    "plmc.methods.average.swa",
    "plmc.methods.distill.layers_kd",
    "plmc.methods.distill.logit_kd",
    "plmc.methods.distill.prediction_kd",
    "plmc.methods.distill.task_loss",
    "plmc.methods.layers.layer_drop",
    "plmc.methods.perturb.hype",
    "plmc.methods.prune.gmp",
    "plmc.methods.sharpness.sam",
    "plmc.report.summary",
    "plmc.report.plots",
    "hydra._internal.core_plugins.basic_launcher",
    "transformers.models.bert.modeling_bert",
    "transformers.models.auto.modeling_auto",
    "transformers.models.bert.tokenization_bert",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.tracking",
    "datasets",
    "safetensors.torch",
)


def serve() -> None:
    """Imports, says so, and obeys until its input ends."""
    import importlib

    for name in HEAVY:
        importlib.import_module(name)
    if threads() != 1:
        raise SystemExit(
            f"{threads()} threads run after the imports; a fork would copy one of them and all their locks."
        )
    print(json.dumps({"ready": os.getpid()}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if "start" in order:
            pid = os.fork()
            if pid == 0:
                _work(order["start"], order["log"])
            answer = {"pid": pid}
        else:
            answer = {"code": os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1])}
        print(json.dumps(answer), flush=True)


def threads() -> int:
    """Threads of this process, those of libraries included."""
    return len(os.listdir("/proc/self/task"))


def _work(words: list[str], log: str) -> None:
    from plmc.run.jobs import launch

    code = 70
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(output, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        code = launch(words, "plmc train " + " ".join(words)) or 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class ForkServer:
    """The other end: `start(words, log)` gives a `Working` process."""

    def __init__(self):
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            "PLMC_DEBUG": "1",
            "MPLBACKEND": "Agg",
            # Arrow's allocator would start a thread as it is loaded.
            "JE_ARROW_MALLOC_CONF": "background_thread:false",
        }
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._turn = threading.Lock()
        self._read()

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(self, *exc) -> None:
        self._process.stdin.close()
        self._process.wait()

    def start(self, words: list[str], log: Path) -> Working:
        return Working(self, self._ask({"start": words, "log": str(log)})["pid"])

    def _ask(self, order: dict) -> dict:
        with self._turn:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            return self._read()

    def _read(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the fork server ended with {self._process.wait()}")
        return json.loads(line)


class Working:
    """One working process: alive until it ends or is killed."""

    def __init__(self, server: ForkServer, pid: int):
        self._server, self.pid, self.started = server, pid, time.monotonic()

    @property
    def alive(self) -> bool:
        # Nobody has waited for it, so an ended process is a zombie and its number belongs to nobody else.
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"

    def kill(self) -> int:
        """SIGKILL; returns the exit code, -9 unless it had just ended by itself."""
        os.kill(self.pid, 9)
        return self.wait()

    def wait(self) -> int:
        return self._server._ask({"wait": self.pid})["code"]


if __name__ == "__main__":
    serve()
