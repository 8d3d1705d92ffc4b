"""The Hub: normalised rows from its cache, and a quick answer when it cannot be reached."""

import socket
import threading
import time

import datasets
import numpy as np
import pytest
from datasets.arrow_writer import ArrowWriter

from plmc.data import hub as module
from plmc.data import reach
from plmc.data.hub import Hub
from plmc.data.reach import hub_reachable
from plmc.errors import ConfigError, DataError, HubUnreachable
from plmc.tasks.custom import Custom
from plmc.tasks.glue import Glue, GlueRegression
from plmc.tasks.squad import Squad


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in ("HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server():
    """A server on this computer; `answer` is what it says to whoever connects (None: nothing, for ever)."""
    listener = socket.create_server(("127.0.0.1", 0))
    state = {"answer": None, "open": []}

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            state["open"].append(connection)
            if state["answer"]:
                connection.recv(4096)
                connection.sendall(
                    f"HTTP/1.1 {state['answer']}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
                )
                connection.close()

    threading.Thread(target=serve, daemon=True).start()
    state["url"] = f"http://127.0.0.1:{listener.getsockname()[1]}"
    yield state
    listener.close()
    for connection in state["open"]:
        connection.close()


@pytest.mark.parametrize(("answer", "reason"), [("200 OK", None), ("404 Not Found", None), ("503 Down", "status 503")])
def test_whoever_answers_is_up_unless_it_says_otherwise(server, monkeypatch, answer, reason):
    monkeypatch.setenv("HF_ENDPOINT", server["url"] + "/")
    server["answer"] = answer
    found = hub_reachable()
    assert found is None if reason is None else reason in found


def test_a_silent_server_is_left_after_the_timeout(server, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server["url"])
    begin = time.perf_counter()
    assert "did not answer within 0.3 s" in hub_reachable(0.3)
    assert time.perf_counter() - begin < 1.0


def test_a_name_server_that_hangs_is_left_after_the_timeout(monkeypatch):
    monkeypatch.setattr(reach, "_ask", lambda *_: time.sleep(5))
    begin = time.perf_counter()
    assert "did not answer" in hub_reachable(0.2)
    assert time.perf_counter() - begin < 1.0


def test_a_closed_port_is_named(server, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    assert "could not be reached (Connection refused)" in hub_reachable()


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_settings_are_obeyed_without_asking(monkeypatch, name):
    monkeypatch.setattr(reach, "_ask", lambda *_: pytest.fail("asked"))
    monkeypatch.setenv(name, "1")
    assert name in hub_reachable()


def put_in_cache(folder, repository, config, **splits):
    """Writes what `load_dataset` leaves behind in its cache."""
    owner, name = repository.split("/")
    target = folder / f"{owner}___{name}" / config / "0.0.0" / "0123456789abcdef"
    target.mkdir(parents=True)
    infos = {}
    for split, rows in splits.items():
        path = target / f"{name}-{split}.arrow"
        with ArrowWriter(features=rows.features, path=str(path)) as writer:
            writer.write_table(rows.with_format("arrow")[:])
            writer.finalize()
        infos[split] = datasets.SplitInfo(split, num_bytes=1, num_examples=len(rows), dataset_name=name)
        features = rows.features
    datasets.DatasetInfo(
        features=features,
        splits=datasets.SplitDict(infos),
        builder_name="parquet",
        dataset_name=name,
        config_name=config,
        version="0.0.0",
        download_size=1,
        dataset_size=1,
        size_in_bytes=2,
    ).write_to_directory(str(target))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(module, "hub_reachable", lambda: "nobody is there")
    monkeypatch.setattr(module, "stay_local", lambda reason: None)
    return tmp_path


def glue_rows(names, labels, columns=("sentence1", "sentence2")):
    label = datasets.ClassLabel(names=names) if names else datasets.Value("float32")
    features = {name: datasets.Value("string") for name in columns} | {"label": label, "idx": datasets.Value("int32")}
    data = {name: [f"{name} {i}" for i in range(len(labels))] for name in columns}
    return datasets.Dataset.from_dict(data | {"label": labels, "idx": range(len(labels))}, datasets.Features(features))


def test_glue_comes_from_the_cache_when_the_hub_is_silent(cache):
    names = ["entailment", "not_entailment"]
    put_in_cache(
        cache,
        "nyu-mll/glue",
        "rte",
        train=glue_rows(names, [0, 1, 1]),
        validation=glue_rows(names, [1]),
        test=glue_rows(names, [-1, -1]),
    )
    before = datasets.config.HF_HUB_OFFLINE
    splits = Hub().load(Glue(name="rte"))
    assert datasets.config.HF_HUB_OFFLINE is before
    assert list(splits) == ["train", "validation", "test"]
    assert splits["train"][1] == {"id": 1, "text_a": "sentence1 1", "text_b": "sentence2 1", "label": 1}
    assert splits["train"].features["label"].dtype == "int64"
    assert splits["test"].column_names == ["id", "text_a", "text_b"]


def test_a_configuration_that_was_never_fetched_is_not_in_the_cache(cache):
    put_in_cache(cache, "nyu-mll/glue", "rte", train=glue_rows(["entailment", "not_entailment"], [0]))
    with pytest.raises(HubUnreachable, match="nobody is there"):
        Hub().load(Glue(name="sst2"))


def test_the_error_comes_quickly_and_names_three_ways_out(cache):
    begin = time.perf_counter()
    with pytest.raises(HubUnreachable) as caught:
        Hub().load(Squad(name="squad_v2", version="2.0"))
    assert time.perf_counter() - begin < 3.0
    for words in (
        "data=local data.root=DIR",
        "data=embedded",
        "HF_HUB_OFFLINE=1",
        "load_dataset('rajpurkar/squad_v2')",
    ):
        assert words in str(caught.value)


def loads(monkeypatch, **splits):
    monkeypatch.setattr(module, "hub_reachable", lambda: None)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_: datasets.DatasetDict(splits))


def test_mnli_splits_get_their_own_names(monkeypatch):
    rows = glue_rows(["entailment", "neutral", "contradiction"], [2], ("premise", "hypothesis"))
    names = ("train", "validation_matched", "validation_mismatched", "test_matched", "test_mismatched")
    loads(monkeypatch, **{name: rows for name in names})
    splits = Hub().load(Glue(name="mnli"))
    assert list(splits) == ["train", "validation", "validation_mismatched", "test", "test_mismatched"]
    assert splits["validation"]["label"][:] == [2]


def test_stsb_has_scores(monkeypatch):
    loads(monkeypatch, train=glue_rows(None, [2.5, 0.0]))
    rows = Hub().load(GlueRegression(name="stsb"))["train"]
    assert rows["label"][:] == [2.5, 0.0] and rows.features["label"].dtype == "float32"


def test_another_order_of_the_classes_is_noticed(monkeypatch):
    loads(monkeypatch, train=glue_rows(["not_entailment", "entailment"], [0]))
    with pytest.raises(DataError, match="plmc expects"):
        Hub().load(Glue(name="rte"))


def test_squad_keeps_keys_and_answers(monkeypatch):
    answers = [{"text": ["cat"], "answer_start": [4]}, {"text": [], "answer_start": []}]
    data = {"id": ["x", "y"], "title": ["T"] * 2, "context": ["The cat."] * 2, "question": ["Who?", "When?"]}
    loads(monkeypatch, validation=datasets.Dataset.from_dict(data | {"answers": answers}))
    rows = Hub().load(Squad(name="squad_v2", version="2.0"))["validation"]
    assert rows[0] == {
        "id": 0,
        "key": "x",
        "title": "T",
        "text_a": "Who?",
        "text_b": "The cat.",
        "answers": answers[0],
    }
    assert rows[1]["answers"] == answers[1] and np.array_equal(rows["id"][:], [0, 1])


def test_a_download_that_breaks_off_is_reported_with_its_reason(monkeypatch):
    def broken(*_):
        raise ConnectionError("the line went dead")

    monkeypatch.setattr(module, "hub_reachable", lambda: None)
    monkeypatch.setattr(datasets, "load_dataset", broken)
    with pytest.raises(HubUnreachable, match="the line went dead"):
        Hub().load(Glue(name="rte"))


def test_other_tasks_are_sent_elsewhere():
    with pytest.raises(ConfigError, match="task=custom"):
        Hub().load(Custom(test="x.csv", text=["a"], labels=["x", "y"]))
