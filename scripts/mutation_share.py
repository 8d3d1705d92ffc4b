"""The share of mutants that the tests kill, from what mutmut has left in `mutants/`; or a random sample of their
names."""

from __future__ import annotations

import argparse
import difflib
import json
import random
import re
from collections import Counter
from pathlib import Path

ROOMS = ("core", "losses", "methods")
SURVIVED, UNTESTED = 0, 33
# Arguments that change nothing on one CPU with UTF-8 as long as all is well.
NEUTRAL = "device|strict|dtype|encoding|ensure_ascii"


def verdicts() -> dict[str, int | None]:
    """mutmut's exit code of each mutant: None until it has run, 0 where all tests passed, 33 where no test calls it."""
    found: dict[str, int | None] = {}
    for path in sorted(Path("mutants/plmc").rglob("*.meta")):
        found |= json.loads(path.read_text())["exit_code_by_key"]
    return found


def changed(name: str) -> str:
    """`words` where the mutant changes only what is between quotes (messages), `typing` only an argument of `NEUTRAL`,
    else
    `code`."""
    module, _, function = name.rpartition(".")
    source = Path("mutants", *module.split(".")).with_suffix(".py").read_text()
    original, mutant = (_body(source, each) for each in (re.sub(r"__mutmut_\d+$", "__mutmut_orig", function), function))
    lines = [line for line in difflib.ndiff(original, mutant) if line[:2] in ("- ", "+ ")]
    bare = [re.sub(r"([\"']).*?\1", "", line[2:]) for line in lines]
    if len(bare) == 2 and bare[0] == bare[1]:
        return "words"
    without = [re.sub(rf",? ?({NEUTRAL})=[\w.]+(\(\))?", "", line[2:]).replace(", )", ")") for line in lines]
    return "typing" if len(without) == 2 and without[0] == without[1] else "code"


def _body(source: str, function: str) -> list[str]:
    lines = source.splitlines()
    start = next(i for i, line in enumerate(lines) if re.match(rf"\s*def {re.escape(function)}\(", line))
    indent = len(lines[start]) - len(lines[start].lstrip())
    end = next(
        (
            i
            for i in range(start + 1, len(lines))
            if lines[i].strip()
            and len(lines[i]) - len(lines[i].lstrip()) <= indent
            and not lines[i].lstrip().startswith(")")
        ),
        len(lines),
    )
    return lines[start + 1 : end]


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--sample", type=int)
    asked, found = words.parse_args(), verdicts()
    if asked.sample:
        print(*random.Random(1).sample(sorted(found), min(asked.sample, len(found))), sep="\n")
        return
    for room in (*ROOMS, ""):
        ran = {name: code for name, code in found.items() if code is not None and f"plmc.{room}" in name}
        kinds = {name: changed(name) for name, code in ran.items() if code in (SURVIVED, UNTESTED)}
        killed = sum(code not in (SURVIVED, UNTESTED) for code in ran.values())
        left = Counter(kinds.values())
        judged = killed + left["code"]
        share = f"{100 * killed / judged:.1f} %" if judged else "-"
        print(
            f"{room or 'all':8} {len(ran):5} run: {killed} killed, {left['code']} survive, {share}; besides, "
            f"{left['words']} change only words of messages and {left['typing']} only a device, an encoding or a check "
            "of lengths"
        )


if __name__ == "__main__":
    main()
