"""`teacher.cache`: what is stored, shared, limited, and what runs along."""

import pytest
from commands import plmc

HIDDEN = (
    "+recipe.stages.distil.methods.hidden={_target_: plmc.methods.distill.layers_kd.LayersKD, attention: 0, embedding: "
    "0, hidden: 1, mode: %s}"
)


@pytest.fixture
def words(small):
    """A distillation of logits and hidden states, 64 rows, every row seen once."""
    return (*small, "recipe=kd", "task=rte", "latency_rows=0", "budget.steps=null", "budget.epochs=1", HIDDEN % "paper")


def stores(tmp_path):
    """The names of the files in each folder of stored outputs."""
    return [
        sorted(p.name for p in folder.iterdir())
        for folder in tmp_path.glob("outputs/cache/teacher/*")
        if folder.is_dir()
    ]


def test_layers_in_use_are_stored_once_and_shared(words, tmp_path):
    first = plmc("train", *words)
    assert first.code == 0, first.text
    files = stores(tmp_path)
    # The tiny teacher's layers are mapped to the student's; the embedding output is not looked at.
    assert len(files) == 1 and "head0.npy" in files[0] and "hidden0.npy" not in files[0]
    assert [name for name in files[0] if name.startswith("hidden")]
    second = plmc("train", *words, "seed=2", "teacher.seed=1")
    assert second.code == 0 and stores(tmp_path) == files
    half = plmc("train", *words, "teacher.cache=fp16")
    assert half.code == 0 and len(stores(tmp_path)) == 2
    assert len(list(tmp_path.glob("outputs/kd-rte-*"))) == 3  # what is rounded is another run


def test_nothing_is_stored_where_it_cannot_be_or_shall_not(words, tmp_path):
    along = plmc("train", *words, "teacher.cache=null")
    assert along.code == 0 and stores(tmp_path) == []
    large = plmc("train", *words, "teacher.cache_gb=1e-6")
    assert large.code == 0 and stores(tmp_path) == []
    assert "more than teacher.cache_gb=1e-06: it runs along" in large.message
    assert "teacher.cache=fp16 halves it" in large.message
    padded = plmc("train", *words[:-1], HIDDEN % "official_code")
    assert padded.code == 0 and stores(tmp_path) == []


@pytest.mark.parametrize(
    "word, says", [("teacher.cache=int8", "fp32 or fp16, or null"), ("teacher.cache_gb=0", "greater than 0")]
)
def test_wrong_settings_are_refused(words, word, says):
    ended = plmc("train", *words, word)
    assert ended.code == 2 and says in ended.message
