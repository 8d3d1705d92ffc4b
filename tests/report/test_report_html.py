"""The HTML report: everything in one file, nothing from outside, in a real browser too."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from bench_folders import add_bench, add_export, bench_record
from run_folders import make_run

from plmc.cli.report import report as verb
from plmc.errors import ConfigError
from plmc.report import html
from plmc.report.compare import compare
from plmc.report.document import report
from plmc.results.find import find

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs")
    for seed in (1, 2):
        make_run(folder, recipe="finetune", seed=seed, accuracy=0.7)
        kd = make_run(folder, recipe="kd", seed=seed, accuracy=0.8, label="kd <T=4> & more")
        add_export(kd, score=0.79)
        add_bench(kd, [bench_record(p50=5.0), bench_record("onnx-int8", p50=1.25)])
    return folder


@pytest.fixture(scope="module")
def document(outputs):
    runs = find(outputs)
    return report(runs, compare(runs, resamples=200), "plmc report --outputs somewhere")


def test_a_tasks_name_is_text_wherever_it_appears(tmp_path):
    make_run(tmp_path, task='"><script>alert(1)</script>')
    runs = find(tmp_path)
    page = report(runs, compare(runs, resamples=50), "plmc report")
    found = Collector()
    found.feed(page)
    assert "script" not in found.tags and "<script" not in page
    (link,) = [address for address in found.addresses if address.startswith("#")]
    assert f'id="{link[1:]}"' in page and re.fullmatch(r"#[\w-]+", link)
    assert "1 finished run, reported" in page


class Collector(HTMLParser):
    """Tags that are open, addresses, and the text."""

    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.text, self.tags = [], [], [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.addresses += [value for key, value in attrs if key in ("src", "href", "srcset", "action")]
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_document_is_balanced_and_asks_for_nothing(document):
    parsed = Collector()
    parsed.feed(document)
    assert not parsed.open
    assert all(address.startswith(("data:", "#")) for address in parsed.addresses)
    assert "script" not in parsed.tags and "url(" not in html.STYLE and "@import" not in html.STYLE


def test_rows_numbers_commands_and_exports_are_in_it(document):
    parsed = Collector()
    parsed.feed(document)
    text = re.sub(r"\s+", " ", " ".join(parsed.text))
    for words in (
        "kd <T=4> & more",
        "finetune (baseline)",
        "80.00 ± 0.00",
        "plmc train recipe=kd task=sst2",
        "onnx int8",
        "79.00",
        "2.00 [1.90, 2.10]",
        "1.25",
        "95 % interval by paired bootstrap",
        "torch 2",
        "seeds 1, 2",
    ):
        assert words in text, words


def test_labels_are_text_and_never_tags(document):
    assert "<T=4>" not in document and "&lt;T=4&gt; &amp; more" in document


def test_made_up_data_is_said_first(tmp_path):
    make_run(tmp_path, data_source="embedded")
    runs = find(tmp_path)
    document = report(runs, compare(runs), "plmc report")
    assert "Made-up data" in document[: document.index("<table")]


def test_the_verb_writes_and_refuses(outputs, tmp_path):
    verb([], "sst2", None, tmp_path / "deep" / "r.html", outputs, "plmc report")
    assert (tmp_path / "deep" / "r.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    with pytest.raises(ConfigError, match="task=rte"):
        verb([], "rte", None, tmp_path / "r.html", outputs, "plmc report")


@pytest.mark.slow
def test_a_browser_shows_it_without_a_request(document, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    path = Path(tmp_path / "report.html")
    path.write_text(document, encoding="utf-8")
    asked, complaints = [], []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS.split(), headless=True)
        for scheme, width in (("light", 1280), ("dark", 390)):
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page.on("request", lambda request: asked.append(request.url))
            page.on("console", lambda message: complaints.append(message.text))
            page.goto(path.as_uri())
            shown = page.inner_text("body")
            drawn = page.evaluate("[...document.images].map(image => image.complete && image.naturalWidth)")
            paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert drawn and all(size > 100 for size in drawn)
            assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 21, 26)"}[scheme]
            for words in ("kd <T=4> & more", "80.00 ± 0.00", "plmc train recipe=kd task=sst2", "79.00"):
                assert words in shown
        browser.close()
    assert {url for url in asked if not url.startswith("data:")} == {path.as_uri()}
    assert not complaints
