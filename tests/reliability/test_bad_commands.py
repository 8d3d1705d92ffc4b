"""Every bad command ends in one clear error: nothing is trained, nothing is accepted, nothing is plmc's fault."""

from __future__ import annotations

import collections
import os
import shlex

import pytest
from bad_commands import Bad, bad_commands
from commands import plmc

ROWS = bad_commands()


def outcome(row: Bad, places: dict[str, str]) -> tuple[str, str]:
    """`good`, or what is wrong with how the command ends; and the first line that it prints."""
    words = row.words
    for name, value in places.items():
        words = words.replace("{" + name + "}", value)
    ended = plmc(*shlex.split(words))
    lines = [line for line in ended.text.splitlines() if line.strip()]
    first = next((line for line in lines if line.startswith("error ")), lines[0] if lines else "")
    wanted = (2, 3) if row.code == 0 and "--help" not in row.words else (row.code,)
    if "Traceback" in ended.text:
        return "traceback", ended.text[-300:]
    if "fault of plmc" in ended.text:
        return "fault", first
    if "updates of" in ended.text:
        return "trained", first
    if ended.code not in wanted:
        return "accepted" if ended.code == 0 else f"exit code {ended.code}", first
    if row.part not in ended.message.replace("│ ", "").replace(" │", ""):
        return "words", first
    if ended.text.count("error ") > 1:
        return "several errors", first
    return "good", first


def judge(rows: list[Bad], places: dict[str, str], tmp_path, monkeypatch) -> tuple[collections.Counter, list[str]]:
    """Counts of outcomes, and a line for each that is not good."""
    monkeypatch.chdir(places["root"])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "220")
    counts, wrong = collections.Counter(), []
    for row in rows:
        kept = dict(os.environ)
        how, first = outcome(row, places)
        for name in set(os.environ) - set(kept):
            del os.environ[name]
        counts[how] += 1
        if how != "good":
            words = row.words.replace("{small} ", "").replace("{own} ", "(own) ")
            wrong.append(f"{how:>16}  {words}  wants {row.part!r}\n{'':18}{first[:300]}")
    return counts, wrong


def test_every_tenth_bad_command(places, tmp_path, monkeypatch):
    counts, wrong = judge(ROWS[::10], places, tmp_path, monkeypatch)
    assert not wrong, f"{dict(counts)}\n" + "\n".join(wrong)


@pytest.mark.slow
def test_every_bad_command(places, tmp_path, monkeypatch):
    counts, wrong = judge(ROWS, places, tmp_path, monkeypatch)
    assert len(ROWS) >= 500
    print(f"\n{len(ROWS)} bad commands: {dict(counts)}")  # the figures of docs/reliability.md
    assert not wrong, f"{dict(counts)}\n" + "\n".join(wrong)
