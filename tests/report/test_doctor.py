"""The doctor finds what is there, and says what to do about what is not."""

import io
import sqlite3
import time

import pytest
from rich.console import Console

import plmc.cli.checks as doctor
import plmc.data.reach


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    monkeypatch.setattr(plmc.data.reach, "hub_reachable", lambda timeout=2.0: "no network in tests")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def by_topic(checks):
    return {check.topic: check for check in checks}


def test_a_whole_diagnosis_is_quick_and_every_bad_line_has_a_cure(tmp_path):
    doctor.diagnose(tmp_path)
    start = time.perf_counter()
    checks = doctor.diagnose(tmp_path)
    assert time.perf_counter() - start < 3
    assert {"versions", "processor", "memory", "bf16", "Hub", "offline model", "outputs", "disk", "MLflow"} <= set(
        by_topic(checks)
    )
    assert all(check.cure for check in checks if check.state == doctor.BAD)
    hub = by_topic(checks)["Hub"]
    assert hub.state == doctor.BAD and "no network in tests" in hub.found and "preset=offline" in hub.cure


def test_the_hub_may_answer(monkeypatch, tmp_path):
    monkeypatch.setattr(plmc.data.reach, "hub_reachable", lambda timeout=2.0: None)
    assert by_topic(doctor.diagnose(tmp_path))["Hub"].state == doctor.GOOD


def test_missing_packages_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "PACKAGES", ("plmc", "no-such-package"))
    monkeypatch.setattr(doctor, "OFFLINE_MODULE", "no_such_module")
    checks = by_topic(doctor.diagnose(tmp_path))
    assert checks["packages"].cure == "pip install no-such-package"
    assert checks["offline model"].state == doctor.BAD


def test_little_disk_is_bad(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "LITTLE_DISK", 1e18)
    assert by_topic(doctor.diagnose(tmp_path / "not" / "there"))["disk"].state == doctor.BAD


def test_the_outputs_are_weighed(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "weights").write_bytes(b"x" * 30_000_000)
    assert "0.03 GB" in by_topic(doctor.diagnose(tmp_path))["outputs"].found


def test_the_mlflow_store_is_read_and_never_made(tmp_path):
    path = tmp_path / "mlflow.db"
    assert "does not exist yet" in by_topic(doctor.diagnose(tmp_path))["MLflow"].found
    assert not path.exists()
    store = sqlite3.connect(path)
    store.executescript("create table runs (id text); insert into runs values ('a'), ('b');")
    store.close()
    assert "2 runs" in by_topic(doctor.diagnose(tmp_path))["MLflow"].found
    path.write_bytes(b"this is no database at all" * 100)
    check = by_topic(doctor.diagnose(tmp_path))["MLflow"]
    assert check.state == doctor.BAD and check.cure


def test_a_dead_tracking_server_is_bad(tmp_path):
    check = by_topic(doctor.diagnose(tmp_path, "http://127.0.0.1:9"))["MLflow"]
    assert check.state == doctor.BAD and "mlflow server" in check.cure


def test_the_table_shows_all_lines_and_their_cures(tmp_path):
    checks = [doctor.Check("good", "here"), doctor.Check("wrong", "[lost]", doctor.BAD, "type this")]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(doctor.render(checks))
    text = console.export_text()
    assert "here" in text and "[lost]" in text and "→ type this" in text
