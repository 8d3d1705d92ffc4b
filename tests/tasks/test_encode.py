"""Stored tokens: found again exactly when rows, tokenizer and options are the same."""

import time

import datasets
import numpy as np
import pytest

from plmc.data import encode as module
from plmc.data.encode import cached, ragged, rows_hash, tokenizer_hash
from plmc.errors import ConfigError
from plmc.tasks.glue import Glue

TASK = Glue(name="sst2", max_length=16)


def rows(n=50, seed=0):
    rng = np.random.default_rng(seed)
    words = np.array("the cat dog film good bad dull very not fine".split())
    texts = [" ".join(rng.choice(words, rng.integers(1, 20))) for _ in range(n)]
    return datasets.Dataset.from_dict({"id": np.arange(n), "text_a": texts, "label": rng.integers(0, 2, n)})


@pytest.fixture
def made(monkeypatch):
    """Counts how often rows are really tokenised."""
    calls = []
    real = module.tokenise
    monkeypatch.setattr("plmc.tasks.text.tokenise", lambda *args: calls.append(1) or real(*args))
    return calls


def test_a_second_call_reads_what_the_first_stored(tiny_tokenizer, tmp_path, made):
    first = TASK.encode(rows(), tiny_tokenizer, training=True, cache=tmp_path)
    second = TASK.encode(rows(), tiny_tokenizer, training=True, cache=tmp_path)
    fresh = TASK.encode(rows(), tiny_tokenizer, training=True)
    assert len(made) == 2  # the first and the one without a cache
    for split in (second, fresh):
        assert split.fingerprint == first.fingerprint
        for name, column in first.columns.items():
            assert np.array_equal(split.columns[name].values, column.values)
            assert np.array_equal(split.columns[name].offsets, column.offsets)
    assert [path.name for path in tmp_path.iterdir()] == [first.fingerprint]


def test_the_fingerprint_follows_rows_options_and_tokenizer(tiny_tokenizer):
    from transformers import BertTokenizerFast

    def key(task=TASK, data=None, tokenizer=tiny_tokenizer):
        return task.encode(data or rows(), tokenizer, training=True).fingerprint

    vocabulary = tiny_tokenizer.get_vocab()
    # Two words change places, nothing else.
    vocabulary["cat"], vocabulary["dog"] = vocabulary["dog"], vocabulary["cat"]
    other = BertTokenizerFast(vocab=vocabulary, do_lower_case=True, model_max_length=512)
    relabelled = rows().remove_columns("label").add_column("label", 1 - np.array(rows()["label"][:]))
    keys = [
        key(),
        key(Glue(name="sst2", max_length=15)),
        key(data=rows(seed=1)),
        key(data=relabelled),
        key(tokenizer=other),
    ]
    assert len(set(keys)) == len(keys)


def test_the_hash_of_rows_is_that_of_their_content(tmp_path):
    data = rows()
    data.save_to_disk(tmp_path / "rows")
    pieces = datasets.concatenate_datasets([data.select(range(20)), data.select(range(20, 50))])
    there_and_back = data.select(range(49, -1, -1)).select(range(49, -1, -1))
    reordered = data.select_columns(["label", "text_a", "id"])
    for same in (datasets.load_from_disk(str(tmp_path / "rows")), pieces, there_and_back, reordered):
        assert rows_hash(same) == rows_hash(data)
    assert rows_hash(data.select(range(49, -1, -1))) != rows_hash(data)


def test_using_a_tokenizer_does_not_change_its_hash(tiny_tokenizer):
    before = tokenizer_hash(tiny_tokenizer)
    tiny_tokenizer(["the cat sat on the mat", "a dog"], truncation=True, max_length=4, padding=True)
    assert tokenizer_hash(tiny_tokenizer) == before


def test_slow_tokenizers_are_refused():
    class Slow:
        is_fast = False

    with pytest.raises(ConfigError, match="slow tokenizer"):
        tokenizer_hash(Slow())


def test_a_stopped_run_leaves_nothing_behind(tiny_tokenizer, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("plmc.tasks.text.tokenise", stop)
    with pytest.raises(KeyboardInterrupt):
        TASK.encode(rows(), tiny_tokenizer, training=True, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_slower_of_two_processes_takes_what_the_faster_stored(tmp_path):
    faster, slower = (datasets.Dataset.from_dict({"x": [value]}) for value in (1, 2))

    def build():
        cached("key", tmp_path, lambda: faster)  # finishes while this one is at work
        return slower

    assert cached("key", tmp_path, build)["x"][:] == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("digests", [True, False])
def test_damaged_tokens_are_made_again(digests, tiny_tokenizer, tmp_path, capsys):
    split = TASK.encode(rows(), tiny_tokenizer, training=True, cache=tmp_path)
    before = split.columns["input_ids"].values.copy()
    del split
    for path in tmp_path.glob("*/*.arrow"):
        path.write_bytes(b"")
    for path in tmp_path.glob("*/digests.json"):
        if not digests:  # as older versions left it
            path.unlink()
    again = TASK.encode(rows(), tiny_tokenizer, training=True, cache=tmp_path)
    assert (again.columns["input_ids"].values == before).all()
    said = capsys.readouterr().err
    assert said.count("warning") == 1 and "The rows are tokenised again" in " ".join(said.split())


def test_ragged_views_share_memory_with_arrow(tiny_tokenizer):
    features = datasets.Features({"x": datasets.Sequence(datasets.Value("int32"))})
    stored = datasets.Dataset.from_dict({"x": [[1, 2], [], [3]]}, features=features)
    column = ragged(stored, "x")
    array = stored.data.column("x").chunk(0)
    assert np.shares_memory(column.values, array.values.to_numpy(zero_copy_only=True))
    assert [column[i].tolist() for i in range(3)] == [[1, 2], [], [3]]
    assert column.lengths.tolist() == [2, 0, 1]


def test_ragged_joins_pieces_and_respects_slices():
    features = datasets.Features({"x": datasets.Sequence(datasets.Value("int32"))})
    parts = [datasets.Dataset.from_dict({"x": [[i, i + 1], [i]]}, features=features) for i in (1, 5)]
    column = ragged(datasets.concatenate_datasets(parts), "x")
    assert [column[i].tolist() for i in range(4)] == [[1, 2], [1], [5, 6], [5]]


def test_stored_tokens_load_fast(tiny_tokenizer, tmp_path):
    data = rows(5000)
    TASK.encode(data, tiny_tokenizer, training=True, cache=tmp_path)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        TASK.encode(data, tiny_tokenizer, training=True, cache=tmp_path)
        times.append(time.perf_counter() - start)
    assert min(times) < 1.0
