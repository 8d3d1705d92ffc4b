"""Running text becomes rows, and nothing of it is lost or invented."""

from __future__ import annotations

import datasets
import numpy as np
import pytest

from plmc.data.packing import pack
from plmc.data.texts import Texts, kind_of
from plmc.errors import ConfigError, DataError
from plmc.tasks.mlm import MaskedLM

LINES = ["the cat sat on the mat .", "the dog runs .", "", "she sees a house in the city .", "a a a " * 30]


def lines(texts) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"id": np.arange(len(texts)), "text_a": list(texts)})


def rows_of(ids) -> list[list[int]]:
    return [ids[row].tolist() for row in range(len(ids))]


def packed(tokenizer, texts=LINES, **options):
    return pack(lines(texts), tokenizer, **{"cache": None, "max_length": 16, "pack": True, "shortest": 3, **options})


def test_every_token_once_in_order_within_the_length(tiny_tokenizer):
    ids, counts, _ = packed(tiny_tokenizer)
    start, end = tiny_tokenizer.cls_token_id, tiny_tokenizer.sep_token_id
    assert all(row[0] == start and row[-1] == end and len(row) <= 16 for row in rows_of(ids))
    inner = [token for row in rows_of(ids) for token in row[1:-1]]
    assert inner == [token for text in LINES for token in tiny_tokenizer(text, add_special_tokens=False)["input_ids"]]
    assert (counts == np.bincount(ids.values, minlength=len(counts))).all()


def test_lines_share_a_row_up_to_the_end_of_their_document(tiny_tokenizer):
    first, second = (rows_of(packed(tiny_tokenizer, pack=choice)[0]) for choice in (True, False))
    assert len(first[0]) == len(second[0]) + len(second[1]) - 2
    assert first[1] == second[2]


def test_short_and_unknown_rows_are_dropped(tiny_tokenizer):
    assert (
        len(packed(tiny_tokenizer, ["the cat", "the cat sat on the mat in the city ."], pack=False, shortest=5)[0]) == 1
    )
    assert len(packed(tiny_tokenizer, ["ж ж ж the cat", "the the the ж ж"], pack=False)[0]) == 1


def test_the_stored_rows_are_the_rows_and_are_mapped(tiny_tokenizer, tmp_path):
    ids, counts, key = packed(tiny_tokenizer)
    for _ in range(2):
        stored, stored_counts, stored_key = packed(tiny_tokenizer, cache=tmp_path)
        assert isinstance(stored.values, np.memmap)
        assert rows_of(stored) == rows_of(ids) and (stored_counts == counts).all() and stored_key == key
    assert packed(tiny_tokenizer, LINES[:-1])[2] != key != packed(tiny_tokenizer, max_length=12)[2]


def test_held_out_rows_have_fixed_even_masks_and_training_rows_none_yet(tiny_tokenizer):
    task = MaskedLM(max_length=16, shortest=3, smoothing=0.7)
    held_out = [task.encode(lines(LINES), tiny_tokenizer, training=False) for _ in range(2)]
    assert (held_out[0].labels.values == held_out[1].labels.values).all() and held_out[0].draws is None
    plain = MaskedLM(max_length=16, shortest=3).encode(lines(LINES), tiny_tokenizer, training=False)
    assert (plain.labels.values == held_out[0].labels.values).all()
    train = task.encode(lines(LINES), tiny_tokenizer, training=True)
    assert train.labels is None and train.draws.weights.min() == 0 and (train.columns["input_ids"].values >= 0).all()


def test_files_and_what_is_held_out(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("\n".join(f"line {n}" for n in range(200)) + "\n")
    texts = Texts(corpus=str(path), held_out="5%").load(MaskedLM())
    assert (len(texts["train"]), len(texts["validation"])) == (190, 10)
    assert texts["validation"][0]["text_a"] == "line 190" and texts["train"].column_names == ["text_a", "id"]
    other = Texts(corpus=str(path), held_out=str(path), rows=50).load(MaskedLM())
    assert (len(other["train"]), len(other["validation"])) == (50, 200)


def test_what_is_wrong_is_told(tmp_path, tiny_tokenizer):
    with pytest.raises(ConfigError, match="no such file"):
        kind_of(str(tmp_path / "none.txt"))
    with pytest.raises(DataError, match="no row of 12 tokens"):
        MaskedLM().encode(lines(["the cat"]), tiny_tokenizer, training=True)
    for options in ({"rate": 0}, {"masked": 0.95}, {"smoothing": -1}, {"metric": "loss"}):
        with pytest.raises(ConfigError, match="Use|favours"):
            MaskedLM(**options)
