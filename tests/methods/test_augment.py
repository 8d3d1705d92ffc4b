"""Data augmentation of TinyBERT, on a vocabulary of a few words."""

import re
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast

from plmc.core.rows import Ragged, Split, TaskData
from plmc.core.setting import Dims
from plmc.errors import ConfigError, DataError
from plmc.methods.augment.candidates import ByWord, EmbeddingNeighbours, GloveNeighbours, nearest_rows
from plmc.methods.augment.masked_lm import MaskedWords, _batches, _Masked, load_masked_lm
from plmc.methods.augment.variants import replace_words
from plmc.methods.augment.word_replace import Augment
from plmc.methods.augment.words import split_words, whole_words, word_pieces
from plmc.testing.stage import HEADS, building

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["the", "a", "good", "bad", "fine", "dull", "film", "movie", "plot", "play", "3", "was", "is", "very"]
VOCABULARY = [*SPECIAL, *WORDS, ".", ",", "'", "##ful", "##s", "un"]
ROWS = {
    "id": [4, 7, 9],
    "text_a": ["The film was good.", "a dull, dull plot", "3 films"],
    "text_b": ["a fine movie", "is it bad?", ""],
    "label": [1, 0, 1],
}


@pytest.fixture(scope="module")
def tokenizer():
    made = Tokenizer(WordPiece({token: i for i, token in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=64, **names)


def config(**fields):
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return BertConfig(vocab_size=len(VOCABULARY), max_position_embeddings=64, **shape, **fields)


@pytest.fixture(scope="module")
def teacher():
    torch.manual_seed(0)
    return BertForSequenceClassification(config())


@pytest.fixture(scope="module")
def masked_lm():
    torch.manual_seed(1)
    return BertForMaskedLM(config(initializer_range=0.5)).eval()


def split(rows):
    count = len(rows)
    flat = Ragged(np.zeros(count, dtype=np.int32), np.arange(count + 1))
    ids, labels = np.array(rows["id"]), np.array(rows["label"])
    return Split({"input_ids": flat}, labels, ids, rows, np.arange(count), f"rows-{count}")


@pytest.fixture
def make(tokenizer, teacher):
    """`make(method, **changes of the setting) -> rows`: what training would see, as a dict of columns."""

    def run(method, *, rows=ROWS, **changes):
        encoded = []

        def encode(rows, *, training):
            assert training
            encoded.append(rows)
            return split(rows)

        dims = Dims(1, 16, 2, 16, len(VOCABULARY))
        columns = ("text_a", "text_b") if "text_b" in rows else ("text_a",)
        setting = building(
            "inter",
            HEADS["classification"],
            0,
            dims,
            dims,
            text_columns=columns,
            teacher_model=teacher,
            tokenizer=tokenizer,
            encode=encode,
        )
        setting = replace(setting, **changes)
        raw = datasets.Dataset.from_dict(rows)
        method.name = "augment"
        method.check(setting)
        result = method.data(TaskData(split(raw), {}, "custom"), setting)
        assert result.train.raw is encoded[0] and encoded[0].features == raw.features
        return encoded[0].to_dict()

    return run


SINGLE = {name: values for name, values in ROWS.items() if name != "text_b"}


def groups(made, rows=ROWS):
    """The rows made of each input row, as (original row, its variants); the originals mark the beginnings."""
    found = []
    for i in range(len(made["id"])):
        row = {name: values[i] for name, values in made.items()}
        if row["id"] in rows["id"]:
            found.append((row, []))
        else:
            found[-1][1].append(row)
    return found


# Algorithm 1


def test_each_row_is_followed_by_n_variants_with_its_label_and_new_ids(make):
    made = make(Augment(n=6), rows=SINGLE)
    assert [len(variants) for _, variants in groups(made)] == [6, 6, 6]
    assert len(set(made["id"])) == 21
    for (original, variants), text, label in zip(groups(made), SINGLE["text_a"], SINGLE["label"], strict=True):
        assert (original["text_a"], original["label"]) == (text, label)
        assert {row["label"] for row in variants} == {label}


def test_probability_zero_gives_the_originals_only(make):
    made = make(Augment(p=0.0, n=3), rows=SINGLE)
    assert Counter(made["text_a"]) == {text: 4 for text in SINGLE["text_a"]}
    assert make(Augment(p=0.0, n=3, mode="official_code"), rows=SINGLE)["text_a"] == SINGLE["text_a"]


def test_probability_one_replaces_every_word_by_one_of_its_candidates(make, tokenizer, teacher):
    source = ByWord(EmbeddingNeighbours(teacher.get_input_embeddings().weight, tokenizer, k=4))
    drawn = [set() for _ in range(4)]
    for original, variants in groups(make(Augment(p=1.0, n=60, k=4), rows=SINGLE)):
        sentence = split_words(original["text_a"])
        candidates = source([sentence], lambda word: True)[0]
        for row in variants:
            changed = split_words(row["text_a"])
            # The gaps, and with them the number of words, stay.
            assert changed.gaps == sentence.gaps
            for word, old, options in zip(changed.words, sentence.words, candidates, strict=True):
                assert (word in options and word != old and len(options) == 4) or word == old == "films"
            if original["id"] == 4:
                for seen, word in zip(drawn, changed.words, strict=True):
                    seen.add(word)
    assert [len(seen) for seen in drawn] == [4] * 4


def test_candidates_are_drawn_evenly():
    sentence = split_words("film")
    names = [f"word{i}" for i in range(15)]
    texts = replace_words(sentence, [names], p=1.0, count=30_000, rng=np.random.default_rng(0))
    counts = np.array([texts.count(name) for name in names])
    # Chi-square with 14 degrees of freedom: 36.1 is passed by chance once in a thousand.
    assert counts.sum() == 30_000 and float(((counts - 2000) ** 2 / 2000).sum()) < 36.1


def test_words_are_replaced_at_the_given_rate(make):
    rows = {"id": [0], "text_a": [" ".join(["film"] * 500)], "label": [0]}
    made = make(Augment(p=0.4, n=20), rows=rows)
    changed = np.mean([word != "film" for text in made["text_a"][1:] for word in text.split()])
    assert abs(changed - 0.4) < 0.02


def test_same_seed_same_rows_and_another_seed_others(make):
    once, again, other = (make(Augment(n=5), seed=seed) for seed in (1, 1, 2))
    assert once == again and once["text_a"] != other["text_a"]


def test_variants_of_a_row_do_not_depend_on_the_other_rows(make):
    alone = make(Augment(n=5), rows={name: values[1:2] for name, values in SINGLE.items()})
    together = groups(make(Augment(n=5), rows=SINGLE))[1]
    assert alone["text_a"][1:] == [row["text_a"] for row in together[1]]


@pytest.mark.parametrize("chunk", [1, 2, 3, 2048])
def test_ids_go_on_after_the_largest_and_chunks_change_nothing(make, monkeypatch, chunk):
    monkeypatch.setattr("plmc.methods.augment.word_replace.CHUNK", chunk)
    seen = []

    def progress(begins, label, total):
        seen.append((list(begins), label, total))
        return begins

    made = make(Augment(n=2), rows=SINGLE | {"extra": ["x", "y", "z"]}, progress=progress)
    assert made["id"] == [4, 10, 11, 7, 12, 13, 9, 14, 15]
    assert made["extra"] == [name for name in "xyz" for _ in range(3)]
    assert made["text_a"][::3] == SINGLE["text_a"]
    begins = list(range(0, 3, chunk))
    assert seen == [(begins, f"augment: rows x {chunk}", len(begins))]
    monkeypatch.setattr("plmc.methods.augment.word_replace.CHUNK", 2048)
    assert make(Augment(n=2), rows=SINGLE)["text_a"] == made["text_a"]


def test_the_two_texts_of_a_pair_are_drawn_apart(make):
    """The same text twice: drawn from one seed both would be varied in the same way."""
    rows = {"id": [1], "text_a": ["the film was good"], "text_b": ["the film was good"], "label": [0]}
    made = make(Augment(p=0.5, n=20), rows=rows)
    first, second = made["text_a"][1:11], made["text_b"][11:]
    assert first != second and made["text_b"][:11] == ["the film was good"] * 11


def test_max_rows_lowers_the_number_of_variants(make):
    made = make(Augment(n=20, max_rows=11), rows=SINGLE)
    assert [len(variants) for _, variants in groups(made)] == [2, 2, 2]
    with pytest.raises(ConfigError, match=r"max_rows=5 leaves no room for variants of 3 rows.*max_rows=6 or more"):
        make(Augment(max_rows=5), rows=SINGLE)
    assert [len(variants) for _, variants in groups(make(Augment(max_rows=6), rows=SINGLE))] == [1, 1, 1]
    assert [len(variants) for _, variants in groups(make(Augment(n=2, max_rows=999), rows=SINGLE))] == [2, 2, 2]


@pytest.mark.parametrize(
    "mode, n, max_rows, texts, counts",
    [
        ("paper", 5, None, 2, [3, 2]),
        ("paper", 5, None, 1, [5]),
        ("paper", 1, None, 2, [1, 0]),
        ("official_code", 5, None, 2, [5, 5]),
        ("official_code", 5, 40, 2, [2, 1]),
        ("paper", 5, 39, 2, [1, 1]),
    ],
)
def test_variants_are_shared_out_over_the_texts_of_a_row(mode, n, max_rows, texts, counts):
    assert Augment(n=n, mode=mode, max_rows=max_rows)._variants_per_text(10, texts) == counts
    assert Augment(n=9, max_rows=5)._variants_per_text(1, 1) == [4]


def test_scores_are_copied(make):
    rows = SINGLE | {"label": [0.5, 1.25, 4.0]}
    made = make(Augment(n=2), rows=rows, head=HEADS["regression"])
    assert made["label"] == [value for value in rows["label"] for _ in range(3)]


# Pairs


def test_each_variant_of_a_pair_has_the_original_beside_it(make):
    for original, variants in groups(make(Augment(p=1.0, n=5))):
        first, second = original["text_a"], original["text_b"]
        assert len(variants) == 5
        assert [row["text_b"] for row in variants[:3]] == [second] * 3
        assert [row["text_a"] for row in variants[3:]] == [first] * 2
        assert all(row["text_a"] != first for row in variants[:3])


def test_official_pairs_keep_the_last_variant_of_the_first_text(make):
    original, variants = groups(make(Augment(p=1.0, n=5, mode="official_code")))[0]
    first = [row for row in variants if row["text_b"] == original["text_b"]]
    second = variants[len(first) :]
    assert first and second
    assert {row["text_a"] for row in second} == {first[-1]["text_a"]} != {original["text_a"]}
    assert len({(row["text_a"], row["text_b"]) for row in [original, *variants]}) == 1 + len(variants)


# Official rules


def test_official_code_spares_stop_words_and_numbers_and_drops_duplicates(make):
    made = make(Augment(p=1.0, n=40, k=2, mode="official_code"), rows=SINGLE)
    for original, variants in groups(made):
        texts = [row["text_a"] for row in variants]
        assert len(set(texts)) == len(texts) and original["text_a"] not in texts
    for text in made["text_a"][1 : made["id"].index(7)]:
        assert re.fullmatch(r"The \w+ was \w+\.", text)
    assert all(text.startswith("3 ") for text in made["text_a"][made["id"].index(9) :])


# Candidates


def test_splitting_loses_nothing():
    for text in ("", "  Don't stop - it's 3.5%! ", "naïve_café"):
        sentence = split_words(text)
        assert sentence.text == text
        assert [text[begin:end] for begin, end in sentence.spans] == sentence.words


def test_whole_words_leave_out_pieces_marks_and_special_tokens(tokenizer):
    ids, texts = whole_words(tokenizer)
    assert texts == [*WORDS, "un"] and [VOCABULARY[i] for i in ids] == texts
    assert [len(pieces) for pieces in word_pieces(tokenizer, ["Film", "films", "playful"])] == [1, 2, 2]


def test_whole_words_of_a_vocabulary_of_bytes_are_read_by_its_tokenizer():
    """`Ġ` marks a word of its own; `naïve` is stored as stand-ins for its bytes."""
    from tokenizers import ByteLevelBPETokenizer

    made = ByteLevelBPETokenizer()
    made.train_from_iterator(
        ["a naïve film , a film", "naïve films naïve film 3"] * 4,
        vocab_size=320,
        min_frequency=1,
        show_progress=False,
        special_tokens=["<s>", "<mask>"],
    )
    reader = PreTrainedTokenizerFast(tokenizer_object=made._tokenizer, bos_token="<s>", mask_token="<mask>")
    ids, texts = whole_words(reader)
    stored = reader.convert_ids_to_tokens(ids)
    assert {"naïve", "film", "films", "a", "3"} <= set(texts) and "," not in texts and "<s>" not in texts
    assert all(token.startswith("Ġ") for token in stored) and "naïve" not in "".join(stored)
    assert [len(pieces) for pieces in word_pieces(reader, ["naïve", "film"])] == [1, 1]
    assert {texts[ids.index(pieces[0])] for pieces in word_pieces(reader, ["naïve", "film"])} == {"naïve", "film"}
    assert word_pieces(reader, []) == []


def test_probability_zero_replaces_nothing_at_any_draw():
    lowest = SimpleNamespace(random=np.zeros)
    assert replace_words(split_words("a film"), [["x"], ["y"]], p=0.0, count=2, rng=lowest) == ["a film"] * 2
    assert replace_words(split_words("a film"), [["x", "z"], []], p=0.5, count=1, rng=lowest) == ["x film"]


def test_no_rows_make_no_rows(make):
    made = make(
        Augment(n=2), rows={"id": np.zeros(0, np.int64), "text_a": np.zeros(0, str), "label": np.zeros(0, np.int64)}
    )
    assert made == {"id": [], "text_a": [], "label": []}


def test_nearest_rows_are_those_of_a_full_sort():
    keys = torch.nn.functional.normalize(torch.randn(30, 5, generator=torch.Generator().manual_seed(0)), dim=-1)
    expected = (keys @ keys.T).fill_diagonal_(-2).argsort(dim=-1, descending=True)[:, :7]
    assert (nearest_rows(keys, keys, own=torch.arange(30), k=7, chunk=4) == expected.numpy()).all()
    assert nearest_rows(keys, keys, own=torch.arange(30), k=99).shape == (30, 29)


def test_words_of_several_pieces_stay_unless_other_vectors_are_given(tokenizer, teacher):
    matrix = teacher.get_input_embeddings().weight.detach()
    found = EmbeddingNeighbours(matrix, tokenizer, k=3)(["films", "Film", "film", "zzz"])
    ids, texts = whole_words(tokenizer)
    similarity = torch.nn.functional.cosine_similarity(matrix[VOCABULARY.index("film")], matrix[ids])
    assert found["film"] == found["Film"] == tuple(texts[i] for i in similarity.argsort(descending=True)[1:4])
    assert found["films"] == found["zzz"] == ()
    given = EmbeddingNeighbours(matrix, tokenizer, k=3, several=lambda words: {word: ("cinema",) for word in words})
    assert given(["films", "film"]) == {"films": ("cinema",), "film": found["film"]}


def test_neighbours_are_near_by_angle_whatever_the_length_of_their_vectors(tokenizer, teacher):
    matrix = teacher.get_input_embeddings().weight.detach()
    lengths = torch.rand(len(matrix), 1, generator=torch.Generator().manual_seed(0)) * 9 + 0.5
    plain, scaled = (EmbeddingNeighbours(table, tokenizer, k=3)(WORDS) for table in (matrix, matrix * lengths))
    assert plain == scaled


def test_table_of_neighbours_is_computed_once(tokenizer, teacher, tmp_path, monkeypatch):
    matrix = teacher.get_input_embeddings().weight
    first = EmbeddingNeighbours(matrix, tokenizer, k=3, cache=tmp_path)(WORDS)
    assert len(list(tmp_path.glob("*.npy"))) == 1
    monkeypatch.setattr("plmc.methods.augment.candidates.nearest_rows", None)
    assert EmbeddingNeighbours(matrix, tokenizer, k=3, cache=tmp_path)(WORDS) == first


def test_embeddings_of_another_vocabulary_are_refused(tokenizer):
    with pytest.raises(DataError, match="do not belong together"):
        EmbeddingNeighbours(torch.zeros(3, 4), tokenizer, k=2)


GLOVE = ["film 1 0", "movie 0.9 0.1", ". . 1 1", "plot 0.5 0.5", "dog -1 0.2", "cut 1 0.01"]


def test_glove_takes_the_nearest_of_the_first_rows(tmp_path, make):
    path = tmp_path / "glove.txt"
    path.write_text("\n".join(GLOVE))
    assert GloveNeighbours(path, k=2, rows=5)(["Film", "zzz"]) == {"Film": ("movie", "plot"), "zzz": ()}
    # By angle: a long vector of another direction is not nearer, a short one of the same is; blanks at line ends are
    # none.
    path.write_text("film 1 0\nfar 30 40\nnear 0.01 0.001 \nplot 0.5 0.5", encoding="utf-8")
    assert GloveNeighbours(path, k=2)(["film"]) == {"film": ("near", "plot")}
    path.write_text("\n".join(GLOVE))
    method = Augment(p=1.0, n=4, k=1, candidates="glove", glove=str(path))
    made = make(method, rows=SINGLE, teacher=None, teacher_model=None)
    assert made["text_a"][1:5] == ["The cut was good."] * 4
    path.write_text("film 1 0\nmovie 1")
    with pytest.raises(DataError, match="line 2"):
        GloveNeighbours(path, k=1)


def test_glove_prefers_a_word_as_it_is_written_and_passes_over_odd_entries(tmp_path):
    path = tmp_path / "glove.txt"
    # An entry that is an ideographic space, one of two words, and both forms of a word, as in the cased releases.
    path.write_text("\u3000 1 1\nfilm 1 0\nFilm 0 1\nnew york 1 1\nmovie 0.9 0\nCinema 0 0.8\n", encoding="utf-8")
    assert GloveNeighbours(path, k=1)(["film", "Film", "FILM"]) == {
        "film": ("movie",),
        "Film": ("Cinema",),
        "FILM": ("movie",),
    }
    path.write_text("", encoding="utf-8")
    with pytest.raises(DataError, match=r"glove.txt holds no word vectors. Expected lines"):
        GloveNeighbours(path, k=1)


def test_masked_sentences_of_like_length_share_a_batch(tokenizer, masked_lm, monkeypatch):
    source = MaskedWords(masked_lm, tokenizer, k=2, several=dict.fromkeys)
    seen, predict = [], source._predict
    monkeypatch.setattr("plmc.methods.augment.masked_lm.TOKENS_PER_BATCH", 30)
    monkeypatch.setattr(
        source, "_predict", lambda batch: seen.extend(len(item.ids) for item in batch) or predict(batch)
    )
    source([split_words(text) for text in ("a very dull plot is a bad plot", "film", "The film was good")], str.isalpha)
    assert seen == sorted(seen) and len(set(seen)) == 3


def test_no_code_of_others_is_run_to_load_a_language_model(masked_lm, tmp_path, monkeypatch):
    from transformers import AutoModelForMaskedLM

    masked_lm.save_pretrained(tmp_path)
    asked, load = [], AutoModelForMaskedLM.from_pretrained
    monkeypatch.setattr(
        AutoModelForMaskedLM,
        "from_pretrained",
        lambda *args, **options: asked.append(options) or load(*args, **options),
    )
    assert load_masked_lm(tmp_path) is not None
    assert [options["trust_remote_code"] for options in asked] == [False]


def test_masked_words_are_the_most_probable_ones_at_the_mask(tokenizer, masked_lm):
    sentence = split_words("The films was good.")
    source = MaskedWords(masked_lm, tokenizer, k=5, several=lambda words: {word: ("several",) for word in words})
    found = source([sentence, split_words("a")], lambda word: word != "was")
    assert found[0][1] == ("several",) and found[0][2] == ()
    ids, texts = whole_words(tokenizer)
    with torch.no_grad():
        logits = masked_lm(**tokenizer("The films was [MASK].", return_tensors="pt")).logits[0]
    position = tokenizer("The films was [MASK].")["input_ids"].index(tokenizer.mask_token_id)
    assert found[0][3] == tuple(texts[i] for i in logits[position, ids].topk(5).indices)
    paired = MaskedWords(masked_lm, tokenizer, k=5, several=dict.fromkeys, with_original=True)
    # This tokenizer's own columns have no types, but BERT reads the second text as one.
    assert "token_type_ids" not in tokenizer.model_input_names
    with torch.no_grad():
        logits = masked_lm(**tokenizer("a [MASK]", "a film", return_tensors="pt", return_token_type_ids=True)).logits[0]
    assert paired([split_words("a film")], str.isalpha)[0][1] == tuple(texts[i] for i in logits[2, ids].topk(5).indices)


def test_batches_hold_as_many_tokens_as_allowed_and_no_more(monkeypatch):
    monkeypatch.setattr("plmc.methods.augment.masked_lm.TOKENS_PER_BATCH", 20)
    sizes = lambda lengths: [  # noqa: E731
        [len(item.ids) for item in batch]
        for batch in _batches([_Masked([1] * length, [], 0, 0, 0) for length in lengths])
    ]
    assert sizes([3, 3, 5, 5, 5, 9]) == [[3, 3, 5, 5], [5, 9]]
    assert sizes([10, 10]) == [[10, 10]] and sizes([10, 11]) == [[10], [11]]
    assert sizes([30]) == [[30]] and sizes([30, 31, 32]) == [[30], [31], [32]] and sizes([]) == []
    assert sizes([1] * 41) == [[1] * 20, [1] * 20, [1]]


def test_masked_words_are_padded_and_told_their_segments(tokenizer, masked_lm):
    """Words of short and long sentences in one batch get what each gets alone, next to its original, too."""
    texts = ["film", "a very dull plot is a bad plot", "The film was good."]
    for paired in (False, True):
        source = MaskedWords(masked_lm, tokenizer, k=4, several=dict.fromkeys, with_original=paired)
        together = source([split_words(text) for text in texts], str.isalpha)
        assert together == [source([split_words(text)], str.isalpha)[0] for text in texts]
        assert all(len(options) == 4 for row in together for options in row)
        model_says = []
        for text in texts:
            masked = re.sub(r"\w+", "[MASK]", text, count=1)
            columns = tokenizer(masked, text if paired else None, return_tensors="pt", return_token_type_ids=True)
            position = columns["input_ids"][0].tolist().index(tokenizer.mask_token_id)
            ids, words = whole_words(tokenizer)
            with torch.no_grad():
                best = masked_lm(**columns).logits[0, position, ids].topk(4).indices
            model_says.append(tuple(words[i] for i in best))
        assert [row[0] for row in together] == model_says


def test_masked_words_stay_within_what_the_model_reads(tokenizer, masked_lm):
    """Positions 62 to 64 of 64: RoBERTa's two that are never reached are left free, and words cut off get nothing."""
    sentence = split_words(" ".join(["film"] * 80))
    found = MaskedWords(masked_lm, tokenizer, k=2, several=dict.fromkeys)([sentence], str.isalpha)[0]
    assert [len(options) for options in found] == [2] * 60 + [0] * 20
    short = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer, model_max_length=12, pad_token="[PAD]", mask_token="[MASK]"
    )
    found = MaskedWords(masked_lm, short, k=2, several=dict.fromkeys)([sentence], str.isalpha)[0]
    assert [len(options) for options in found] == [2] * 10 + [0] * 70


def test_a_language_model_of_another_tokenizer_is_refused(tokenizer, masked_lm):
    maskless = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, pad_token="[PAD]")
    with pytest.raises(DataError, match="does not belong to the student's tokenizer"):
        MaskedWords(masked_lm, maskless, k=2, several=dict.fromkeys)
    small = config()
    small.vocab_size = len(VOCABULARY) - 1
    with pytest.raises(DataError, match="does not belong to the student's tokenizer"):
        MaskedWords(BertForMaskedLM(small), tokenizer, k=2, several=dict.fromkeys)
    MaskedWords(masked_lm, tokenizer, k=2, several=dict.fromkeys)
    many = MaskedWords(masked_lm.train(), tokenizer, k=99, several=dict.fromkeys)([split_words("a film")], str.isalpha)
    assert [len(set(options)) for options in many[0]] == [15, 15] and not masked_lm.training


def test_batches_of_masked_words_do_not_change_what_is_found(tokenizer, masked_lm, monkeypatch):
    sentences = [split_words(text) for text in ("The film was good.", "a very dull plot is a bad plot", "play")]
    source = MaskedWords(masked_lm, tokenizer, k=3, several=dict.fromkeys)
    together = source(sentences, str.isalpha)
    monkeypatch.setattr("plmc.methods.augment.masked_lm.TOKENS_PER_BATCH", 1)
    assert source(sentences, str.isalpha) == together


def test_auto_guesses_where_there_is_a_language_model_head(make, masked_lm, tmp_path, caplog):
    caplog.set_level("INFO", "plmc")
    masked_lm.save_pretrained(tmp_path / "head")
    BertModel(config()).save_pretrained(tmp_path / "headless")
    assert load_masked_lm(tmp_path / "headless") is None
    by_source = {
        name: make(Augment(n=8, p=1.0, k=3), rows=SINGLE, mlm_source=str(tmp_path / name))["text_a"]
        for name in ("head", "headless")
    }
    assert by_source["headless"] == make(Augment(n=8, p=1.0, k=3, candidates="embeddings"), rows=SINGLE)["text_a"]
    assert by_source["head"] != by_source["headless"]
    assert [record.message for record in caplog.records if "candidates from" in record.message] == [
        f"augment: candidates from {tmp_path / 'head'}",
        *["augment: candidates from the teacher's embeddings"] * 2,
    ]
    alone = make(Augment(n=2, candidates="mlm"), mlm_source=str(tmp_path / "head"), teacher=None, teacher_model=None)
    assert len(alone["id"]) == 9
    with pytest.raises(ConfigError, match="candidates=embeddings"):
        make(Augment(candidates="mlm"), mlm_source=str(tmp_path / "headless"))
    with pytest.raises(DataError, match="nowhere"):
        make(Augment(candidates="mlm"), mlm_source=str(tmp_path / "nowhere"))


@pytest.mark.parametrize("mode", ["paper", "official_code"])
def test_words_of_several_pieces_come_from_glove_whatever_gives_the_others(make, masked_lm, tmp_path, mode):
    masked_lm.save_pretrained(tmp_path / "head")
    glove, cache = tmp_path / "glove.txt", tmp_path / "cache"
    glove.write_text("films 1 0\nmovies 0.9 0.1\nplays -1 0")
    cache.mkdir()
    rows = {"id": [0], "text_a": ["good films"], "label": [0]}
    for name, changes in (("embeddings", {}), ("mlm", {"mlm_source": str(tmp_path / "head")})):
        method = Augment(p=1.0, n=4, k=1, candidates=name, glove=str(glove), mode=mode)
        made = make(method, rows=rows, cache=cache, **changes)["text_a"]
        assert {text.split()[1] for text in made[1:]} == {"movies"}, name
    assert len(list(cache.glob("neighbours-*.npy"))) == 1


def test_the_official_code_shows_the_language_model_the_whole_sentence(make, masked_lm, tmp_path, tokenizer):
    masked_lm.save_pretrained(tmp_path)
    sentence = split_words("a dull, dull plot")
    found = []
    for mode in ("paper", "official_code"):
        method = Augment(k=3, candidates="mlm", mode=mode)
        method.name = "augment"
        around = SimpleNamespace(mlm_source=str(tmp_path), tokenizer=tokenizer, teacher_model=None)
        found.append(method._source(around)([sentence], str.isalpha))
        with_original = MaskedWords(
            masked_lm, tokenizer, k=3, several=dict.fromkeys, with_original=mode == "official_code"
        )
        assert found[-1] == with_original([sentence], str.isalpha)
    assert found[0] != found[1]


def test_a_task_without_training_rows_cannot_be_augmented(teacher, tokenizer):
    method, dims = Augment(), Dims(1, 16, 2, 16, len(VOCABULARY))
    method.name = "augment"
    setting = building("inter", HEADS["classification"], 0, dims, dims, teacher_model=teacher, tokenizer=tokenizer)
    with pytest.raises(
        DataError, match="augment: the task has no training rows to augment. Remove it: ~methods.augment"
    ):
        method.data(TaskData(None, {}, "custom"), setting)


# Cache


def test_rows_are_made_once_and_by_everything_they_depend_on(make, tmp_path, monkeypatch):
    first = make(Augment(n=3), cache=tmp_path)
    for method, changes in ((Augment(n=4), {}), (Augment(n=3, p=0.5), {}), (Augment(n=3), {"seed": 5})):
        make(method, cache=tmp_path, **changes)
    assert len(list(tmp_path.glob("augment-*.arrow"))) == 4 and not list(tmp_path.glob("*.tmp"))
    monkeypatch.setattr("plmc.methods.augment.word_replace.replace_words", None)
    assert make(Augment(n=3), cache=tmp_path) == first


def test_the_key_of_the_rows_holds_all_that_they_depend_on_and_nothing_else(make, tmp_path, masked_lm, teacher):
    masked_lm.save_pretrained(tmp_path / "head")
    glove = tmp_path / "glove.txt"
    glove.write_text("\n".join(GLOVE))
    cache = tmp_path / "cache"
    cache.mkdir()

    def files(method, **changes):
        make(method, cache=cache, **changes)
        return {path.name for path in cache.glob("augment-*.arrow")}

    first = files(Augment(n=1))
    assert len(first) == 1 and re.fullmatch(r"augment-[0-9a-f]{16}\.arrow", min(first))
    other = BertForSequenceClassification(config())
    met = set(first)
    for method, changes in (
        (Augment(n=1, glove=str(glove)), {}),
        (Augment(n=1), {"mlm_source": str(tmp_path / "head")}),
        (Augment(n=1), {"teacher_model": other}),
        (Augment(n=1, candidates="embeddings"), {}),
        (Augment(n=1), {"rows": SINGLE}),
    ):
        now = files(method, **changes)
        assert len(now - met) == 1, method
        met |= now
    glove.write_text("\n".join([*GLOVE, "good 0.3 0.1"]))
    met = files(Augment(n=1, glove=str(glove))) - met
    assert len(met) == 1
    (tmp_path / "head" / "generation_config.json").write_text("{}")
    before = {path.name for path in cache.glob("augment-*.arrow")}
    again = files(Augment(n=1), mlm_source=str(tmp_path / "head"))
    assert len(again - before) == 1, "the model's files have changed"
    assert files(Augment(n=1), mlm_source=str(tmp_path / "head")) == again
    # GloVe alone reads no teacher; a teacher of another kind of weights makes the same rows.
    by_glove = files(Augment(n=1, candidates="glove", glove=str(glove)))
    assert files(Augment(n=1, candidates="glove", glove=str(glove)), teacher_model=other) == by_glove
    # The name of a Hub model stands for itself.
    one = files(Augment(n=1, candidates="glove", glove=str(glove)), mlm_source="org/model") - by_glove
    two = files(Augment(n=1, candidates="glove", glove=str(glove)), mlm_source="org/other") - by_glove - one
    assert len(one) == len(two) == 1


def test_rows_have_a_fingerprint_of_what_they_are_made_from(tokenizer, teacher, tmp_path):
    """A cache of what is encoded from them is found by it."""
    prints = []
    for cache, n in ((None, 1), (None, 2), (tmp_path, 1), (tmp_path, 1)):
        raw, dims = datasets.Dataset.from_dict(SINGLE), Dims(1, 16, 2, 16, len(VOCABULARY))
        setting = building(
            "inter",
            HEADS["classification"],
            0,
            dims,
            dims,
            text_columns=("text_a",),
            teacher_model=teacher,
            tokenizer=tokenizer,
            encode=lambda rows, *, training: prints.append(rows._fingerprint) or split(rows),
            cache=cache,
        )
        Augment(n=n).data(TaskData(split(raw), {}, "custom"), setting)
    assert prints[0] == prints[2] == prints[3] != prints[1] and prints[0] in str(list(tmp_path.iterdir()))


def test_damaged_rows_are_made_again(make, tmp_path, capsys):
    first = make(Augment(n=3), cache=tmp_path)
    (path,) = tmp_path.glob("augment-*.arrow")
    content = path.read_bytes()
    path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    assert make(Augment(n=3), cache=tmp_path) == first
    assert "The rows are varied again." in capsys.readouterr().err
    assert path.read_bytes() == content


def test_a_damaged_table_of_neighbours_is_made_again(tokenizer, teacher, tmp_path, capsys):
    matrix = teacher.get_input_embeddings().weight
    first = EmbeddingNeighbours(matrix, tokenizer, k=3, cache=tmp_path)(WORDS)
    (path,) = tmp_path.glob("neighbours-*.npy")
    content = path.read_bytes()
    path.write_bytes(content[:-2])
    assert EmbeddingNeighbours(matrix, tokenizer, k=3, cache=tmp_path)(WORDS) == first
    assert "The table of neighbours is made again." in capsys.readouterr().err and path.read_bytes() == content
    EmbeddingNeighbours(matrix, tokenizer, k=2, cache=tmp_path)
    EmbeddingNeighbours(matrix + 1, tokenizer, k=3, cache=tmp_path)
    assert len(list(tmp_path.glob("neighbours-*.npy"))) == 3


def test_interrupted_augmentation_leaves_nothing_behind(make, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("plmc.methods.augment.word_replace.replace_words", fail)
    with pytest.raises(KeyboardInterrupt):
        make(Augment(), cache=tmp_path)
    assert not list(tmp_path.glob("augment-*"))


def test_only_rows_that_training_uses_are_augmented(tokenizer, teacher):
    raw = datasets.Dataset.from_dict(SINGLE)
    part = replace(split(raw.select([0, 2])), raw=raw, source=np.array([0, 2]))
    dims = Dims(1, 16, 2, 16, len(VOCABULARY))
    setting = building(
        "inter",
        HEADS["classification"],
        0,
        dims,
        dims,
        text_columns=("text_a",),
        teacher_model=teacher,
        tokenizer=tokenizer,
        encode=lambda rows, *, training: split(rows),
        progress=lambda iterable, label, total: iterable,
    )
    train = Augment(n=1).data(TaskData(part, {}, "custom"), setting).train
    assert [i for i in train.raw["id"] if i in SINGLE["id"]] == [4, 9] and len(train) == 4


# Refusals


@pytest.mark.parametrize(
    "fields, says",
    [
        ({"p": 1.1}, "p=1.1 must be"),
        ({"n": 0}, "n=0 must be"),
        ({"k": 0}, "k=0 must be"),
        ({"mode": "both"}, "mode=both must be paper or official_code"),
        ({"candidates": "bert"}, "candidates=bert must be auto, mlm, embeddings or glove"),
    ],
)
def test_nonsense_is_refused(fields, says):
    with pytest.raises(ConfigError, match=says):
        Augment(**fields)
    assert Augment(p=0.0, n=1, k=1).p == 0 and Augment(p=1.0).p == 1


@pytest.mark.parametrize(
    "fields, changes, says",
    [
        ({"kinds": ["span"]}, {"head": HEADS["span"]}, "~methods.augment"),
        ({"candidates": "glove"}, {}, "methods.augment.glove"),
        ({"glove": "missing.txt"}, {}, "missing.txt"),
        ({"candidates": "mlm"}, {}, "candidates=embeddings"),
        ({}, {"teacher": None}, "no teacher"),
    ],
)
def test_what_cannot_work_is_refused_before_any_data(make, fields, changes, says):
    with pytest.raises(ConfigError, match=re.escape(says)):
        make(Augment(**fields), **changes)


def test_tasks_of_another_kind_are_left_alone():
    method = Augment(kinds=["classification"])
    data = object()
    setting = SimpleNamespace(head=HEADS["regression"])
    assert method.data(data, setting) is data
    method.check(setting)
