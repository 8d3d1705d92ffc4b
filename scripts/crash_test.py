"""Proves that `kill -9` loses nothing: every recipe is killed at random and at chosen moments and must end as if
untouched.

    python scripts/crash_test.py --kills 20 --seed 0

Each recipe (tiny random models, made-up rows, one CPU thread) runs once undisturbed. The same command is then started
in another folder, killed with SIGKILL, started again, and so on, until it finishes. Weights and predictions must come
out byte for byte, scores, stages and MLflow curves value for value, in one MLflow run; no file under its final name may
be torn.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "crash"))

from crash_cases import RECIPES
from crash_kill import FROM_NOTHING, Outcome, Proof, plan
from fork_server import ForkServer


def main() -> int:
    """Runs the proof, prints the table, and returns 1 if something differed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="kills over all recipes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=list(RECIPES), metavar="NAME")
    parser.add_argument(
        "--from-nothing", type=int, default=1, help="proofs that also kill store creation and the teacher"
    )
    parser.add_argument("--keep", type=Path, help="work in this folder, and leave it")
    arguments = parser.parse_args()
    root = arguments.keep or Path(tempfile.mkdtemp(prefix="plmc-crash-"))
    root.mkdir(parents=True, exist_ok=True)
    outcomes = []
    try:
        with ForkServer() as server:
            proof = Proof(server, root.resolve(), random.Random(arguments.seed))
            proof.prepare()
            for case, moments in plan(arguments.recipes, arguments.kills, proof.rng).items():
                outcomes.append(proof.prove(case, moments))
                print(line(outcomes[-1]), flush=True)
            for _ in range(arguments.from_nothing):
                outcomes.append(proof.prove("kd", [*FROM_NOTHING, None, None], bare=True))
                print(line(outcomes[-1]), flush=True)
    finally:
        if not arguments.keep:
            shutil.rmtree(root, ignore_errors=True)
    table(outcomes)
    return int(any(outcome.wrong for outcome in outcomes))


def line(outcome: Outcome) -> str:
    """One case in a log."""
    head = f"{outcome.case}: {len(outcome.kills)} kills in {outcome.seconds:.0f} s: {'; '.join(outcome.kills)}"
    return "\n  ".join([head, *outcome.wrong])


def table(outcomes: list[Outcome]) -> None:
    """All cases as a table."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=f"{sum(len(outcome.kills) for outcome in outcomes)} kills", title_justify="left")
    for column in ("recipe", "kills", "where they hit", "identical"):
        shown.add_column(column, overflow="fold")
    for outcome in outcomes:
        shown.add_row(outcome.case, str(len(outcome.kills)), "\n".join(outcome.kills), "no" if outcome.wrong else "yes")
    Console(width=110).print(shown)


if __name__ == "__main__":
    raise SystemExit(main())
