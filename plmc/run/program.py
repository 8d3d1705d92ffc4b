"""plmc in a program or a notebook: the words of the command line as arguments, results as objects.

import plmc

run = plmc.train("recipe=kd", "task=sst2", "preset=offline")
print(run.score, run.folder)
plmc.predict(run.folder, ["a moving film"])
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmc.errors import ConfigError
from plmc.world import together

if TYPE_CHECKING:
    from plmc.results.find import Run

OUTPUTS = "outputs"


def train(*words: str, quiet: bool = False) -> Run:
    """Trains what the words describe, as `plmc train` does; a run that is finished is only read. In a program that
    torchrun or accelerate started, its processes train together.

    Args:
        words: settings as on the command line, such as `recipe=kd`, `task=sst2`, `budget.steps=100`.
        quiet: shows no bars and no notes.

    Returns:
        The finished run: its `folder`, `record`, `score`, `predictions()`.

    Raises:
        ConfigError: a setting is wrong, or the words describe several runs.
        DataError, HubUnreachable: rows or models cannot be had.
        TrainingError: training failed.
    """
    from plmc.config.compose import compose, plain, single_runs
    from plmc.config.resolve import resolve
    from plmc.console import Console
    from plmc.results import find
    from plmc.run import processes
    from plmc.run.check import capped
    from plmc.run.execute import execute

    several = single_runs(words)
    if len(several) != 1:
        raise ConfigError(f"the words describe {len(several)} runs. Call train for each of them.")
    command = f"plmc.train({', '.join(map(repr, words))})"
    run = resolve(plain(compose(several[0])), command=command)
    processes.check(run)
    if processes.wanted(run) > 1:
        raise ConfigError(
            f"a program is one process. Start it with torchrun --nproc-per-node {run.settings.plain.processes}, or "
            "train from the command line: plmc train processes=…"
        )
    with together():
        console = Console(quiet=quiet)
        for text in capped(run):
            console.say(text)
        execute(run, console)
    return find.load(run.folder)


def load(name: str | Path, *, outputs: str | Path = OUTPUTS, allow: Sequence[str] = ()) -> tuple[Any, Any]:
    """The model and the tokenizer of a run or of a model folder.

    Args:
        name: a folder, the name of a run or its beginning.
        outputs: where runs are looked for.
        allow: packages whose classes the run's config may name, as well as those of plmc.

    Returns:
        A transformers model in evaluation mode, and its tokenizer.

    Raises:
        ConfigError: there is no such run or folder.
        DamagedFile: a file is not what was written.
    """
    from plmc.models.load import load_tokenizer
    from plmc.results.pick import pick
    from plmc.run.answers import whole_model

    picked = pick(str(name), Path(outputs), allow)
    return whole_model(picked.model), load_tokenizer(str(picked.model))


def predict(
    name: str | Path,
    texts: Sequence[str | tuple[str, str]],
    *,
    outputs: str | Path = OUTPUTS,
    allow: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Answers of a run or of a model folder for texts, as `plmc predict` gives them.

    Args:
        name: a folder, the name of a run or its beginning.
        texts: one text a row, or two as a pair (question and context for a model that reads).
        outputs: where runs are looked for.
        allow: as in `load`.

    Returns:
        For each row its `texts` and `label`, `score` and `scores`; a regression's `score`; a reader's `answer`.

    Raises:
        ConfigError: there is no such run or folder, or the rows have the wrong number of texts.
    """
    from plmc.config.build import build
    from plmc.results.pick import pick
    from plmc.run.answers import answerer

    if isinstance(texts, str):
        raise ConfigError('texts is a list of texts: ["a moving film"].')
    picked = pick(str(name), Path(outputs), allow)
    task = build(picked.config["task"], "task") if picked.config else None
    rows = [(row,) if isinstance(row, str) else tuple(row) for row in texts]
    return answerer(picked.model, task)(rows) if rows else []


def bench(*names: str | Path, outputs: str | Path = OUTPUTS, quiet: bool = False, **options: Any) -> dict[str, Any]:
    """Latency, throughput, memory and size of models side by side, as `plmc bench` measures them.

    Args:
        names: runs, folders of models or exports; words such as `task=sst2` choose rows.
        outputs: where runs are looked for.
        quiet: shows no notes.
        options: fields of `plmc.benchmark.race.Options`, such as `batch="1,32"`, `rounds=10`, `threads=2`.

    Returns:
        The result that `plmc bench --json` writes: `contenders`, `records`, `machine`, `load`, `notes`.

    Raises:
        ConfigError: an option or a name is wrong.
    """
    from plmc.benchmark.race import Options, measured
    from plmc.console import Console
    from plmc.names import did_you_mean

    for key in options:
        if key not in Options.__dataclass_fields__:
            raise ConfigError(f"bench has no option {key}.{did_you_mean(key, Options.__dataclass_fields__)}")
    chosen = [str(name) for name in names]
    words = [name for name in chosen if "=" in name]
    return measured(
        [name for name in chosen if "=" not in name], words, Options(**options), Path(outputs), Console(quiet=quiet)
    )
