"""MLflow's own pages show a parent and its children side by side, without a request to the outside."""

import shutil
from urllib.parse import urlsplit

import pytest
from track_tools import make

from plmc.track import close_parent, compare_url, default_uri, experiment_url, parent_run, run_url
from plmc.track.identity import read
from plmc.track.ui import free_port, running

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    outputs = tmp_path_factory.mktemp("outputs")
    uri = default_uri(outputs)
    parent = parent_run(outputs / "sweep", uri=uri, experiment="sst2", name="seeds and methods")
    runs = []
    for number, method in enumerate(("kd", "gmp", "swa")):
        for seed in (1, 2):
            tracker = make(outputs / f"{method}-{seed}", uri, experiment="sst2", parent=outputs / "sweep", interval=5.0)
            tracker.start({"method": method, "seed": seed})
            for step in range(0, 50, 10):
                tracker.log({"loss": 1 / (step + 1), f"{method}/strength": step / 50}, step)
            tracker.log({"validation/accuracy": 0.8 + number / 20 + seed / 1000}, 50)
            tracker.finish()
            assert tracker.pending == 0, tracker.warnings
            runs.append(tracker)
    close_parent(outputs / "sweep", {"best/accuracy": 0.902})
    return uri, parent, runs, read(outputs / "sweep" / "tracking").experiment_id


def test_compare_address_quotes_its_lists():
    address = compare_url("http://127.0.0.1:5000/", ["1"], ["ab", "cd"])
    assert address == ("http://127.0.0.1:5000/#/compare-runs?runs=%5B%22ab%22%2C%22cd%22%5D&experiments=%5B%221%22%5D")


def test_a_taken_port_is_not_used():
    import socket

    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = holder.getsockname()[1]
        assert free_port("127.0.0.1", taken) != taken
    assert free_port("127.0.0.1", taken) == taken


@pytest.mark.slow
def test_compare_page_shows_runs_and_metrics(sweep, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    uri, parent, runs, experiment = sweep
    ids = [run.run_id for run in runs]
    asked = set()
    with running(uri, port=0) as base, playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS.split(), headless=True)
        page = browser.new_page(viewport={"width": 1600, "height": 2000})
        page.on("request", lambda request: asked.add(urlsplit(request.url).hostname))
        page.goto(compare_url(base, [experiment], ids))
        for words in ("kd-1", "kd-2", "gmp-1", "gmp-2", "swa-1", "swa-2", "validation/accuracy"):
            page.get_by_text(words).first.wait_for(timeout=60_000, state="attached")
        shown = page.inner_text("body")
        page.screenshot(path=str(tmp_path / "compare.png"), full_page=True)
        page.goto(run_url(base, experiment, parent))
        page.get_by_text("seeds and methods").first.wait_for(timeout=60_000)
        page.get_by_text("best/accuracy").first.wait_for(timeout=60_000)
        page.screenshot(path=str(tmp_path / "parent.png"))
        page.goto(experiment_url(base, experiment))
        page.get_by_text("seeds and methods").first.wait_for(timeout=60_000)
        page.screenshot(path=str(tmp_path / "experiment.png"))
        browser.close()
    for run in runs:
        assert run.folder.name in shown
    for metric in ("loss", "validation/accuracy", "kd/strength", "gmp/strength", "swa/strength"):
        assert metric in shown
    assert (tmp_path / "compare.png").stat().st_size > 10_000
    assert {host for host in asked if host} == {"127.0.0.1"}
