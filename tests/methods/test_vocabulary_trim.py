"""Vocabulary trimming: a smaller table and tokenizer that agree with each other and, on kept tokens, with the old
ones."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from loop import setting, start
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaTokenizerFast,
)

from plmc.core.rows import Ragged, Split, TaskData
from plmc.errors import ConfigError
from plmc.methods.prune.tokens import closed, trimmed
from plmc.methods.prune.vocabulary import VocabularyTrim, keep_rows
from plmc.methods.quant.qat import QAT
from plmc.testing.stage import HEADS

SEEN = [
    "the cat sat on the mat .",
    "a good film , not dull",
    "she runs",
    "is it a great city ?",
    "the dog eats in the house",
]
UNSEEN = ["boring river", "the answer was bad : 10 !", "xyzzy cats", "He SEES the Film"]


def wordpiece():
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,?!:"
    words = " ".join([*SEEN, *UNSEEN]).lower().split() + [
        "run",
        "##s",
        "unused",
        "##ing",
        "mats",
        "good",
        "filmed",
        "##ed",
    ]
    tokens = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *letters, *(f"##{c}" for c in letters)]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    return BertTokenizerFast(vocab=vocabulary, do_lower_case=True, model_max_length=64)


def bytelevel():
    from tokenizers import ByteLevelBPETokenizer

    made = ByteLevelBPETokenizer()
    made.train_from_iterator(
        [*SEEN, *UNSEEN, "hello there world", "the theatre weather"] * 4,
        vocab_size=480,
        min_frequency=1,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        show_progress=False,
    )
    import json

    state = json.loads(made._tokenizer.to_str())["model"]
    return RobertaTokenizerFast(
        vocab=state["vocab"], merges=[tuple(pair) for pair in state["merges"]], model_max_length=64
    )


def generic():
    """A tokenizer that no class of the library knows: all it does stands in tokenizer.json, added words among it."""
    from tokenizers import AddedToken, Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    words = wordpiece()
    made = Tokenizer.from_str(words.backend_tokenizer.to_str())
    ids = {token: words.convert_tokens_to_ids(token) for token in ("[CLS]", "[SEP]")}
    template = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=list(ids.items())
    )
    made.post_processor = processors.Sequence([template])
    names = {
        "unk_token": "[UNK]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    reader = PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=64, **names)
    reader.add_tokens([AddedToken("ünknown-wörd", normalized=False), AddedToken("<film>", special=True)])
    return reader


FAMILIES = {"wordpiece": wordpiece, "bytelevel": bytelevel, "generic": generic}
EVERY = pytest.mark.parametrize("family", list(FAMILIES))


def model_for(tokenizer):
    torch.manual_seed(0)
    sizes = dict(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48
    )
    if isinstance(tokenizer, RobertaTokenizerFast):
        config = RobertaConfig(**sizes, max_position_embeddings=70, pad_token_id=1, type_vocab_size=1)
        return RobertaForSequenceClassification(config).eval()
    return BertForSequenceClassification(BertConfig(**sizes, max_position_embeddings=64)).eval()


def ids_of(tokenizer, texts):
    return {number for text in texts for number in tokenizer(text)["input_ids"]}


def around(tokenizer, model, texts=SEEN):
    found = [np.array(tokenizer(text)["input_ids"]) for text in texts]
    column = Ragged(np.concatenate(found), np.concatenate([[0], np.cumsum([len(row) for row in found])]))
    number = np.arange(len(texts))
    split = Split({"input_ids": column}, number % 2, number, None, number, "texts")
    return replace(setting(model), tokenizer=tokenizer, data=TaskData(train=split, evaluation={}, source="custom"))


def logits(model, tokenizer, text):
    with torch.no_grad():
        return model.eval()(**tokenizer(text, return_tensors="pt")).logits


def trim(family, tmp_path=None, **fields):
    tokenizer = FAMILIES[family]()
    model = model_for(tokenizer)
    method = VocabularyTrim(**fields)
    method.name = "vocab_trim"
    made = method.finish(method.prepare(model, None), around(tokenizer, model))
    return tokenizer, method, made, method.tokenizer(tokenizer)


@EVERY
def test_texts_of_kept_tokens_are_answered_bit_for_bit_as_before(tmp_path, family):
    tokenizer = FAMILIES[family]()
    before = model_for(tokenizer)
    _, method, after, fewer = trim(family)
    assert len(fewer) < len(tokenizer) and len(fewer) == after.config.vocab_size == len(method._kept)
    texts = [*SEEN, "the film , the cat", "a good dog runs in the city ."]
    assert ids_of(tokenizer, texts) <= set(method._kept), "made of kept tokens only"
    for text in texts:
        old, new = tokenizer(text), fewer(text)
        assert [method._kept[number] for number in new["input_ids"]] == old["input_ids"]
        assert fewer.convert_ids_to_tokens(new["input_ids"]) == tokenizer.convert_ids_to_tokens(old["input_ids"])
        assert torch.equal(logits(after, fewer, text), logits(before, tokenizer, text))
    assert fewer("the cat", "a film")["input_ids"] == [
        method._kept.index(number) for number in tokenizer("the cat", "a film")["input_ids"]
    ]


@EVERY
def test_other_texts_fall_back_to_known_pieces(family):
    _, _, model, fewer = trim(family)
    for text in UNSEEN:
        encoded = fewer(text)["input_ids"]
        assert max(encoded) < model.config.vocab_size and fewer.unk_token_id not in encoded
        assert fewer.decode(encoded, skip_special_tokens=True).replace(" ", "").lower() == text.replace(" ", "").lower()
        assert bool(logits(model, fewer, text).isfinite().all())


@EVERY
def test_what_is_saved_belongs_together(tmp_path, family):
    from plmc.models import load as models

    _, _, model, fewer = trim(family)
    model.save_pretrained(tmp_path)
    fewer.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    reader = models.load_tokenizer(str(tmp_path))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    assert reader.get_vocab() == fewer.get_vocab() and sorted(reader.get_vocab().values()) == list(range(len(fewer)))
    for text in [*SEEN, *UNSEEN]:
        assert reader(text)["input_ids"] == fewer(text)["input_ids"]
        torch.testing.assert_close(logits(again, reader, text), logits(model, fewer, text), rtol=1e-5, atol=1e-7)
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        old, new = getattr(model_for(FAMILIES[family]()).config, name), getattr(again.config, name)
        assert (new is None) == (old is None)
    assert again.config.pad_token_id == reader.pad_token_id
    for name in reader.special_tokens_map:
        assert getattr(reader, name) == getattr(FAMILIES[family](), name)


@EVERY
def test_trimming_twice_is_trimming_once(family):
    tokenizer, method, _, fewer = trim(family)
    assert closed(fewer, range(len(fewer))) == list(range(len(fewer)))
    again = trimmed(fewer, list(range(len(fewer))))
    assert again.backend_tokenizer.to_str() == fewer.backend_tokenizer.to_str()


def test_added_words_and_the_template_are_renumbered():
    """In a tokenizer whose numbers are read from its file alone."""
    tokenizer, method, _, fewer = trim("generic")
    text = "the ünknown-wörd <film> sat"
    old, new = (each(text, "a cat", return_token_type_ids=True) for each in (tokenizer, fewer))
    assert [method._kept[number] for number in new["input_ids"]] == old["input_ids"]
    assert new["token_type_ids"] == old["token_type_ids"] and 1 in old["token_type_ids"]
    assert fewer.tokenize(text) == ["the", "ünknown-wörd", "<film>", "sat"]
    assert closed(tokenizer, []) == closed(tokenizer, [], characters=True)
    assert set(tokenizer.added_tokens_decoder) <= set(closed(tokenizer, [], characters=False))


def test_added_words_of_a_vocabulary_of_bytes_stay():
    tokenizer = bytelevel()
    tokenizer.add_tokens(["wörd"])
    kept = closed(tokenizer, [])
    fewer = trimmed(tokenizer, kept)
    assert [kept[number] for number in fewer("a wörd")["input_ids"]] == tokenizer("a wörd")["input_ids"]


def test_no_code_of_others_is_run_to_read_a_trimmed_tokenizer(monkeypatch):
    from transformers import AutoTokenizer

    asked, load = [], AutoTokenizer.from_pretrained
    monkeypatch.setattr(
        AutoTokenizer, "from_pretrained", lambda *a, **options: asked.append(options) or load(*a, **options)
    )
    trim("wordpiece")
    assert [options["trust_remote_code"] for options in asked] == [False]


def test_merges_lead_to_every_kept_token():
    tokenizer, method, _, fewer = trim("bytelevel")
    reached = {token for text in SEEN for token in tokenizer.tokenize(text)}
    assert reached <= set(fewer.get_vocab())
    theatre = tokenizer.tokenize(" weather theatre")
    assert not set(theatre) <= set(fewer.get_vocab()), "some token is gone"
    assert "".join(fewer.tokenize(" weather theatre")) == "".join(theatre)


@EVERY
def test_any_text_of_kept_tokens_is_split_as_before(family):
    """Texts drawn from kept words, also ones that never stood side by side."""
    tokenizer, method, _, fewer = trim(family)
    words = sorted({word for text in SEEN for word in text.split()})
    draw = np.random.default_rng(0)
    kept = set(method._kept)
    compared = 0
    for _ in range(200):
        text = "".join(draw.choice(words) + draw.choice(["", " ", " "]) for _ in range(6))
        old = tokenizer(text)["input_ids"]
        if set(old) <= kept:
            compared += 1
            assert [method._kept[number] for number in fewer(text)["input_ids"]] == old, text
    assert compared > 20


def test_without_characters_unseen_words_are_unknown():
    tokenizer, _, _, fewer = trim("wordpiece", characters=False)
    assert len(fewer) < len(trim("wordpiece")[3])
    assert fewer.unk_token_id in fewer("boring river")["input_ids"]
    assert len(trim("bytelevel", characters=False)[3]) == len(trim("bytelevel")[3]), "bytes are always kept"


def test_rare_tokens_go_and_a_corpus_counts(tmp_path):
    once, twice = trim("wordpiece")[3], trim("wordpiece", min_count=2)[3]
    assert "film" in once.get_vocab() and "film" not in twice.get_vocab() and "the" in twice.get_vocab()
    file = tmp_path / "texts.txt"
    file.write_text("boring river\nfilm\n", encoding="utf-8")
    more = trim("wordpiece", min_count=2, corpus=str(file))[3].get_vocab()
    assert "film" in more and "boring" not in more
    assert {"boring", "river"} <= set(trim("wordpiece", corpus=str(file))[3].get_vocab())


def test_every_line_of_a_corpus_counts_to_its_end(tmp_path):
    """Lines beyond the thousandth, and words beyond what the model reads."""
    file = tmp_path / "texts.txt"
    lines = ["the"] * 1000 + ["river"] + [" ".join(["the"] * 80 + ["boring"])]
    file.write_text("\n".join(lines), encoding="utf-8")
    assert {"river", "boring"} <= set(trim("wordpiece", corpus=str(file))[3].get_vocab())
    once = trim("wordpiece", corpus=str(file), min_count=2)[3].get_vocab()
    assert "river" not in once and "boring" not in once


@EVERY
def test_the_tokenizer_keeps_its_name_and_its_added_tokens_their_numbers(family):
    tokenizer, method, _, fewer = trim(family)
    assert fewer.name_or_path == tokenizer.name_or_path == fewer.init_kwargs["name_or_path"]
    for token, number in tokenizer.get_added_vocab().items():
        assert fewer.get_added_vocab()[token] == method._kept.index(number) == fewer.convert_tokens_to_ids(token)
    assert {n: str(t) for n, t in fewer.added_tokens_decoder.items()} == {
        method._kept.index(n): str(t) for n, t in tokenizer.added_tokens_decoder.items()
    }
    assert method.metrics() == {"tokens": float(len(method._kept))}


def test_the_steps_to_a_token_of_a_vocabulary_with_word_ends():
    """As in tokenizers that mark the end of a word: the last character carries the mark from the beginning."""
    from plmc.methods.prune.tokens import _bare, _steps

    model = {"end_of_word_suffix": "</w>", "continuing_subword_prefix": None}
    ranks = {("t", "h"): 0, ("th", "e</w>"): 1}
    assert _bare("the</w>", model) == "the" and _bare("</w>", model) == "</w>" and _bare("a", model) == "a"
    assert _steps("the</w>", ranks, model) == {"t", "h", "e</w>", "th", "the</w>"}
    assert _steps("he</w>", ranks, model) == set()  # no merge leads there
    assert _bare("##ing", {"continuing_subword_prefix": "##"}) == "ing"
    assert _bare("##", {"continuing_subword_prefix": "##"}) == "##"


def test_merges_written_as_one_string_are_read():
    from plmc.methods.prune.tokens import _merges

    assert _merges({"merges": ["a b", ["b", "c"], "\u00a0 d"]}) == [("a", "b"), ("b", "c"), ("\u00a0", "d")]


@pytest.mark.parametrize("options", [{"byte_fallback": True}, {"continuing_subword_prefix": "##"}])
def test_other_kinds_of_pair_encoding_are_refused(options):
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    plain = {"vocab": {"a": 0, "b": 1}, "merges": [], "unk_token": "a"}
    with pytest.raises(ConfigError, match="a BPE tokenizer as that of .* cannot be trimmed"):
        closed(PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE(**plain, **options))), [0])
    assert closed(PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE(**plain))), [0]) == [0, 1]


def test_ids_of_the_config_that_are_no_tokens_stay_as_they_are():
    model = model_for(wordpiece())
    size = model.config.vocab_size
    model.config.eos_token_id, model.config.bos_token_id = size, 50_256
    keep_rows(model, [0, 3, 5])
    assert (model.config.pad_token_id, model.config.eos_token_id, model.config.bos_token_id) == (0, size, 50_256)


def test_off_changes_nothing():
    tokenizer, method, model, fewer = trim("wordpiece", min_count=0)
    assert fewer is tokenizer and model.config.vocab_size == len(tokenizer) and method.metrics() == {}


def test_a_finished_stage_is_trimmed_from_its_state_alone():
    tokenizer, method, made, fewer = trim("wordpiece")
    other = VocabularyTrim()
    other.load_state_dict(method.state_dict())
    empty = other.finish(model_for(tokenizer), setting())
    empty.load_state_dict(made.state_dict())
    assert empty.config.vocab_size == made.config.vocab_size
    assert other.tokenizer(tokenizer).backend_tokenizer.to_str() == fewer.backend_tokenizer.to_str()


def test_without_training_rows_nothing_can_be_counted():
    tokenizer = wordpiece()
    whole = around(tokenizer, model_for(tokenizer))
    method = VocabularyTrim()
    method.name = "vocab_trim"
    with pytest.raises(
        ConfigError, match="vocab_trim counts tokens of training rows, and there are none. Remove ~methods"
    ):
        method.finish(model_for(tokenizer), replace(whole, data=replace(whole.data, train=None)))


def test_what_cannot_be_trimmed_is_refused():
    from tokenizers import Tokenizer
    from tokenizers.models import Unigram
    from transformers import PreTrainedTokenizerFast

    unigram = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(Unigram([("a", -1.0), ("b", -2.0)], unk_id=0)))
    with pytest.raises(ConfigError, match="only WordPiece"):
        closed(unigram, [0])
    with pytest.raises(ConfigError, match="predicts tokens"):
        keep_rows(BertForMaskedLM(model_for(wordpiece()).config), [0, 1, 2])
    roberta = model_for(bytelevel())
    with pytest.raises(ConfigError, match="counts positions"):
        keep_rows(roberta, [1, 2, 3])
    with pytest.raises(ConfigError, match="corpus=FILE.txt"):
        start({"vocab_trim": VocabularyTrim(corpus="/nowhere/at/all.txt")})
    with pytest.raises(ConfigError, match=r"method=\[qat,vocab_trim\]"):
        start({"vocab_trim": VocabularyTrim(), "qat": QAT()})
    start({"qat": QAT(), "vocab_trim": VocabularyTrim()})
    method = VocabularyTrim()
    method.name = "vocab_trim"
    method.check(setting())  # not among the stage's methods
    with pytest.raises(ConfigError, match="vocab_trim: a masked-language model predicts all tokens. Remove ~methods"):
        method.check(setting(head=HEADS["mlm"]))
    with pytest.raises(ConfigError, match="min_count=-1 must be"):
        VocabularyTrim(min_count=-1)
