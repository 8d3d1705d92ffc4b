"""Starts a run, kills it with SIGKILL at a chosen or a random moment, starts it again, and compares it with a
reference."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from crash_cases import MAKERS, make_models, words
from crash_checks import broken, differences
from fork_server import ForkServer, Working

# A moment is the appearance of a new path; `R` is the run's folder, every other pattern starts in the output folder. In
# the order in which they come.
MOMENTS = {
    "store being made": ".mlflow.db.new",
    "run created in MLflow": "R/tracking/run.json",
    "tokens being stored": "cache/.*",
    "teacher being trained": "teachers/*/stages/*/checkpoint.pt",
    "teacher being saved": "teachers/*/model",
    "teacher finished": "teachers/*/result.json",
    "augmentation being stored": "cache/augment-*.tmp",
    "augmentation stored": "cache/augment-*.arrow",
    "teacher logits being stored": "cache/teacher/.*.tmp",
    "teacher logits stored": "cache/teacher/*.lock",
    "checkpoint being written": "R/stages/*/.checkpoint.pt.*",
    "checkpoint written": "R/stages/*/checkpoint.pt",
    "best weights being written": "R/stages/*/.best.pt.*",
    "stage being closed": "R/stages/*/.done.pt.*",
    "stage closed, weights only": "R/stages/*/done.pt",
    "between stages": "R/stages/*/done.json",
    "model being saved": "R/.model.*/model.safetensors",
    "model saved": "R/model",
    "predictions being written": "R/predictions/.*",
    "predictions written": "R/predictions/*.jsonl",
    "plots": "R/plots/*.png",
    "model card": "R/README.md",
    "artifacts staged": "R/tracking/artifacts/*/*",
    "MLflow model being built": "R/tracking/models/.*",
    "MLflow model built": "R/tracking/models/*",
    "MLflow artifacts": "mlartifacts/*/*/artifacts/*",
    "MLflow upload": "mlartifacts/models/*/artifacts/model",
    "result written": "R/result.json",
}
FROM_NOTHING = ("store being made", "teacher being trained", "teacher being saved", "teacher finished")
LIMIT = 300.0
# Some moments last a millisecond, which a busy machine may sleep through.
TRIES = 4


@dataclass
class Outcome:
    """A case: what hit it, at which second, and what was found wrong."""

    case: str
    kills: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class Proof:
    """Folders of one proof: models, a template output folder with teachers and an empty store, references, killed
    runs."""

    server: ForkServer
    root: Path
    rng: random.Random

    def prepare(self, cases: Sequence[str] = MAKERS) -> None:
        """Models, an empty MLflow store, and the teachers of `cases`, whose first runs are their references, too."""
        from plmc.track.store import connect

        template = self.root / "template"
        if not template.exists():
            make_models(self.root / "models")
            connect(f"sqlite:///{template / 'mlflow.db'}")
        for case in cases:
            output = self.root / "reference" / case
            if output.exists():
                continue
            self._template(output)
            started = time.monotonic()
            self._must_finish(case, output)
            # The teacher's share of the time is no part of the runs that are killed later.
            (output / "seconds").write_text(str(0.6 * (time.monotonic() - started)))
            shutil.copytree(output / "teachers", template / "teachers", dirs_exist_ok=True)

    def reference(self, case: str) -> tuple[Path, float]:
        """The output folder of the uninterrupted run, made once, and its seconds."""
        output = self.root / "reference" / case
        if not output.exists():
            self._template(output)
            started = time.monotonic()
            self._must_finish(case, output)
            (output / "seconds").write_text(str(time.monotonic() - started))
        return output, float((output / "seconds").read_text())

    def prove(self, case: str, moments: list[str | None], *, bare: bool = False) -> Outcome:
        """Kills the case at each of the moments (None: at a random one), lets it finish and compares.

        `bare`: without the teacher and the store that are otherwise copied in.
        """
        outcome = Outcome(case + (" from nothing" if bare else ""))
        reference, seconds = self.reference(case)
        output = self.root / "killed" / outcome.case.replace(" ", "-")
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir(parents=True) if bare else self._template(output)
        started = time.monotonic()
        name = self._name(reference)
        for moment in moments:
            for _ in range(TRIES):
                if (output / name / "result.json").exists() and moment != "result written":
                    # Finished in spite of all: the moments left over hit a fresh run.
                    outcome.wrong += self._compare(case, reference, output)
                    shutil.rmtree(output)
                    output.mkdir(parents=True) if bare else self._template(output)
                if hit := self._kill(case, output, name, moment, seconds * (2 if bare else 1)):
                    outcome.kills.append(hit)
                    outcome.wrong += [f"after kill at {hit}: {text}" for text in broken(output)]
                    break
        outcome.wrong += self._compare(case, reference, output)
        outcome.seconds = time.monotonic() - started
        return outcome

    def _compare(self, case: str, reference: Path, output: Path) -> list[str]:
        try:
            self._must_finish(case, output)
        except RuntimeError as error:
            return [str(error)]
        name = self._name(reference)
        found = differences(reference / name, output / name)
        for teacher in (output / "teachers").glob("*/result.json"):
            # A teacher that was copied in is tracked elsewhere.
            if str(output) in (teacher.parent / "tracking" / "run.json").read_text():
                origin = reference / "teachers" / teacher.parent.name
                found += [f"teacher: {text}" for text in differences(origin, teacher.parent)]
        return found + broken(output)

    def _name(self, reference: Path) -> str:
        return next(path.parent.name for path in reference.glob("*/result.json"))

    def _kill(self, case: str, output: Path, name: str, moment: str | None, seconds: float) -> str | None:
        patterns = MOMENTS[moment].replace("R/", f"{name}/", 1) if moment else None
        before = set(_seen(output, patterns)) if moment else set()
        delay = self.rng.uniform(0, 0.015) if moment else self.rng.uniform(0, seconds)
        process = self.server.start(words(case, self.root / "models", output), self._log(output))
        while process.alive and time.monotonic() - process.started < LIMIT:
            if moment and set(_seen(output, patterns)) - before:
                time.sleep(delay)
                break
            if not moment and time.monotonic() - process.started >= delay:
                break
            time.sleep(0.0005 if moment else 0.005)
        at = time.monotonic() - process.started
        return f"{moment or 'random'} ({at:.1f} s)" if process.kill() == -9 else None

    def _must_finish(self, case: str, output: Path) -> Working:
        process = self.server.start(words(case, self.root / "models", output), self._log(output))
        if code := process.wait():
            raise RuntimeError(f"{case} ended with {code}:\n{self._log(output).read_text()[-3000:]}")
        return process

    def _log(self, output: Path) -> Path:
        return output.with_name(f"{output.name}.log")

    def _template(self, output: Path) -> None:
        """A new output folder with the teachers and an MLflow store without runs."""
        shutil.copytree(self.root / "template", output)


def _seen(output: Path, pattern: str) -> Iterator[tuple[str, int, int]]:
    for path in output.glob(pattern):
        try:
            facts = path.stat()
        except FileNotFoundError:
            continue
        # By content, not only by name: an older attempt may have left the same file.
        yield str(path), facts.st_ino, facts.st_mtime_ns


def plan(cases: list[str], kills: int, rng: random.Random) -> dict[str, list[str | None]]:
    """At least `kills` kills over the cases: every other one at a random moment, the rest spread over `MOMENTS`."""
    planned: dict[str, list[str | None]] = {case: [] for case in cases}
    turn = 0
    while sum(map(len, planned.values())) < kills:
        for case in cases:
            due = [moment for moment in MOMENTS if _comes(moment, case) and moment not in planned[case]]
            # As different ones as can be over all cases, so that few kills see much.
            used = [moment for moments in planned.values() for moment in moments]
            rng.shuffle(due)
            planned[case].append(min(due, key=used.count) if due and turn % 2 == 0 else None)
        turn += 1
    order = [None, *MOMENTS]
    return {case: sorted(moments, key=order.index) for case, moments in planned.items()}


def _comes(moment: str, case: str) -> bool:
    recipe = case.split("+")[0]
    if moment in FROM_NOTHING:
        return False
    if moment.startswith("augmentation"):
        return recipe.startswith("tinybert")
    if moment.startswith("teacher logits"):
        return recipe in ("kd", "gmp_star", "gmp_obert", "one_shot") or recipe.startswith("tinybert")
    if moment == "best weights being written":
        return recipe not in ("swa", "gmp_star", "one_shot")
    return True
