"""What the command line says of a tracking store that takes nothing, and of one whose address holds a secret."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from commands import plmc

SECRET = "s3cr3t"


class Forbidden(BaseHTTPRequestHandler):
    """Answers every request with 401."""

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(401)
        self.send_header("Content-Length", "12")
        self.end_headers()
        self.wfile.write(b"Unauthorized")

    do_GET = do_POST = answer

    def log_message(self, *arguments): ...


@pytest.fixture
def forbidden():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Forbidden)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_run_says_at_its_end_what_was_not_tracked_and_sync_sends_it(small, forbidden, tmp_path):
    words = [word for word in small if word != "tracking=off"]
    ended = plmc("train", *words, "recipe=finetune", "task=sst2", "latency_rows=0", f"tracking.uri={forbidden}")
    assert ended.code == 0, ended.text
    last = ended.text.strip().splitlines()[-1]
    assert last.startswith("warning tracking:") and "401" in last and last.endswith("plmc sync")
    result = json.loads(next(tmp_path.glob("outputs/finetune-*/result.json")).read_text())
    assert result["status"] == "finished" and "401" in result["mlflow"]["warnings"][-1]
    tried = plmc("sync", "--patience", "0.5")
    assert tried.code == 1 and "events wait" in tried.text and "401" in tried.text
    # The same run on a store that takes it.
    home = next(tmp_path.glob("outputs/finetune-*/tracking/run.json"))
    home.write_text(home.read_text().replace(forbidden, f"sqlite:///{tmp_path}/other.db"))
    sent = plmc("sync", "finetune-sst2")
    assert sent.code == 0 and "events sent" in sent.text
    assert "nothing waits" in plmc("sync").text


@pytest.mark.parametrize(
    "uri",
    [
        f"http://127.0.0.1:9/?token={SECRET}",
        f"http://user:{SECRET}@127.0.0.1:9",
        f"https://127.0.0.1:9/mlflow#{SECRET}",
        f"postgresql://user:{SECRET}@127.0.0.1/mlflow",
    ],
)
def test_an_address_with_a_secret_is_refused_before_anything_is_written(small, tmp_path, uri):
    words = [word for word in small if word != "tracking=off"]
    for verb in (["validate"], ["train"], ["train", "-m", "seed=1,2"]):
        ended = plmc(*verb, *words, "recipe=finetune", "task=sst2", f"'tracking.uri=\"{uri}\"'".strip("'"))
        assert ended.code == 2 and "tracking.uri" in ended.text and SECRET not in ended.text
    assert not list(tmp_path.rglob("*.json")) and not list(tmp_path.rglob("*.yaml"))


def test_sync_without_a_folder_or_without_anything_to_send(tmp_path):
    assert plmc("sync", "--outputs", "nowhere").code == 2
    (tmp_path / "outputs").mkdir()
    ended = plmc("sync")
    assert ended.code == 0 and "nothing waits" in ended.text
