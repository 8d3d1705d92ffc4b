"""Runs one job in this process: `python scripts/bench/job.py JOB.json RESULT.json`."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

MODULES = {
    "plmc": "plmc_job",
    "hand": "hand",
    "Trainer": "hf_trainer",
    "TextBrewer": "text_brewer",
    "torchdistill": "torch_distill",
}


def main(job_file: Path, result_file: Path) -> None:
    """Writes CPU seconds, wall seconds and dev accuracy, or the first line of the error."""
    import common
    import torch

    job = common.Job(**json.loads(job_file.read_text(encoding="utf-8")))
    torch.set_num_threads(job.threads)
    torch.manual_seed(job.seed)
    library, _, options = job.contender.partition(" ")
    try:
        model, result = importlib.import_module(MODULES[library]).run(job, options)
        result["accuracy"] = common.accuracy(model, common.Rows(Path(job.folder) / "dev.json"))
    except Exception as error:  # a rival that does not run is a line of the table
        if library in ("plmc", "hand"):
            raise
        text = str(error).strip().splitlines()
        result = {"error": f"{type(error).__name__}: {text[0] if text else ''}"}
    result_file.write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
