"""Folders and limits as machines have them: letters beyond ASCII under LC_ALL=C, a small address space."""

import os
import resource
import subprocess
import sys

from commands import CHECKOUT, SMALL


def run(words, folder, **options):
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1", "LC_ALL": "C", "LANG": "C"}
    command = [sys.executable, "-m", "plmc", "train", "recipe=finetune", "task=rte", "latency_rows=0", *words]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=300, **options
    )


def test_a_folder_with_an_umlaut_under_the_c_locale(zoo, tmp_path):
    (tmp_path / "größe").mkdir()
    ended = run([*SMALL, f"teacher.name={zoo['bert']}", "output_dir=läufe"], tmp_path / "größe")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert list((tmp_path / "größe" / "läufe").glob("finetune-rte-*/result.json"))


def test_too_small_an_address_space_is_told_as_such(zoo, tmp_path):
    def small():
        resource.setrlimit(resource.RLIMIT_AS, (3_000_000_000, 3_000_000_000))

    ended = run([*SMALL, f"teacher.name={zoo['bert']}"], tmp_path, preexec_fn=small)
    said = " ".join((ended.stdout + ended.stderr).split())
    assert ended.returncode == 0 or (ended.returncode == 5 and "there is not enough memory" in said), said
    assert "fault of plmc" not in said and "Traceback" not in said
