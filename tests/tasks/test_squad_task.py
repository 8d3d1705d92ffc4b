"""SQuAD: windows over long paragraphs, labels in them, and the way back from logits to text."""

import time

import numpy as np
import pytest

from plmc.data.squad_json import COLUMNS, questions
from plmc.errors import ConfigError, DataError, TrainingError
from plmc.tasks.squad import Squad
from plmc.tasks.squad_predict import best_spans

CONTEXT = "The cat sat on the mat. A dog runs in the city (1 2 3), and the house was very dull. What a good film it is!"


def rows(*items, context=CONTEXT):
    """Items are (question, [answers])."""
    columns = {name: [] for name in COLUMNS}
    for number, (question, answers) in enumerate(items):
        starts = [context.index(answer) for answer in answers]
        values = (100 + number, f"q{number}", "t", question, context, {"text": answers, "answer_start": starts})
        for name, value in zip(columns, values, strict=True):
            columns[name].append(value)
    return questions(columns)


def small(version="1.1", **fields):
    options = {"max_length": 24, "stride": 6, "max_question_length": 8} | fields
    return Squad(name="squad", version=version, **options)


def certain(split, value=10.0):
    """Logits that put all weight on the labels, as (start, end), padded with -inf."""
    heads = []
    for side in (0, 1):
        logits = np.full((len(split), split.lengths.max()), -np.inf, dtype=np.float32)
        for row, length in enumerate(split.lengths):
            logits[row, :length] = 0.0
            logits[row, split.labels[row, side]] = value
        heads.append(logits)
    return tuple(heads)


ITEMS = (("Where was the cat?", ["on the mat"]), ("What is good?", ["film"]), ("Who runs?", ["dog", "A dog"]))


def test_features_cover_the_paragraph_and_share_the_stride(tiny_tokenizer):
    split = small().encode(rows(*ITEMS), tiny_tokenizer, training=False)
    assert len(split) >= 3 * len(ITEMS) and len(set(split.ids.tolist())) == len(split)
    assert split.lengths.max() <= 24
    starts, ends = (split.extra[name] for name in ("offset_start", "offset_end"))
    for question in range(len(ITEMS)):
        features = np.flatnonzero(split.source == question)
        tokens = [[(s, e) for s, e in zip(starts[f], ends[f], strict=True) if s >= 0] for f in features]
        for left, right in zip(tokens, tokens[1:], strict=False):
            assert left[-6:] == right[:6]
        covered = {c for feature in tokens for s, e in feature for c in range(s, e)}
        assert all(c in covered for c, letter in enumerate(CONTEXT) if not letter.isspace())


def test_labels_point_at_the_answer_in_every_feature_that_holds_it(tiny_tokenizer):
    split = small().encode(rows(*ITEMS), tiny_tokenizer, training=False)
    starts, ends = (split.extra[name] for name in ("offset_start", "offset_end"))
    for row in range(len(split)):
        answer = ITEMS[split.source[row]][1][0]
        begin = CONTEXT.index(answer)
        inside = starts[row][starts[row] >= 0].min() <= begin and ends[row].max() >= begin + len(answer)
        first, last = split.labels[row]
        if inside:
            assert CONTEXT[starts[row][first] : ends[row][last]] == answer
        else:
            assert (first, last) == (0, 0)
    assert (split.labels[:, 0] > 0).any() and (split.labels[:, 0] == 0).any()


def test_logits_on_the_labels_give_the_gold_answers_back(tiny_tokenizer):
    task = small()
    split = task.encode(rows(*ITEMS), tiny_tokenizer, training=False)
    records = task.predict(certain(split), split)
    assert [record["prediction"] for record in records] == ["on the mat", "film", "dog"]
    assert [record["id"] for record in records] == [100, 101, 102]
    assert records[2]["key"] == "q2" and records[2]["label"] == ["dog", "A dog"]
    assert task.score(records, split) == {"exact_match": 1.0, "f1": 1.0}


def test_training_rows_have_the_same_tokens_and_no_offsets(tiny_tokenizer, tmp_path):
    task, data = small(), rows(*ITEMS)
    evaluated = task.encode(data, tiny_tokenizer, training=False, cache=tmp_path)
    trained = task.encode(data, tiny_tokenizer, training=True, cache=tmp_path)
    assert np.array_equal(trained.columns["input_ids"].values, evaluated.columns["input_ids"].values)
    assert np.array_equal(trained.labels, evaluated.labels)
    assert not trained.extra and trained.fingerprint != evaluated.fingerprint
    with pytest.raises(DataError, match="tokenised for training"):
        task.predict(certain(trained), trained)


def test_unlabelled_questions_are_answered_but_not_scored(tiny_tokenizer):
    task = small()
    labelled = task.encode(rows(*ITEMS), tiny_tokenizer, training=False)
    split = task.encode(rows(*ITEMS).remove_columns("answers"), tiny_tokenizer, training=False)
    assert split.labels is None
    records = task.predict(certain(labelled), split)
    assert [record["prediction"] for record in records] == ["on the mat", "film", "dog"]
    with pytest.raises(DataError, match="no gold answers"):
        task.score(records, split)


def test_version_2_refuses_above_the_threshold_only(tiny_tokenizer):
    data = rows(("Where?", ["on the mat"]), ("When?", []))
    split = small("2.0").encode(data, tiny_tokenizer, training=False)
    logits = certain(split)
    for logit in logits:
        logit[split.source == 0, 0] = 0.0  # "no answer" wins in no feature of the first question

    def answers(threshold):
        return [r["prediction"] for r in small("2.0", null_threshold=threshold).predict(logits, split)]

    assert answers(0.0) == ["on the mat", ""]
    assert answers(-1000.0) == ["", ""]
    assert all(answers(1000.0))
    task = small("2.0")
    records = task.predict(logits, split)
    scores = task.score(records, split)
    assert scores["f1"] == scores["has_answer_f1"] == scores["no_answer_f1"] == scores["best_f1"] == 1.0


def test_the_best_feature_of_a_question_wins(tiny_tokenizer):
    task = small()
    split = task.encode(rows(("Who?", ["dog"])), tiny_tokenizer, training=False)
    start, end = (np.zeros_like(logits) for logits in certain(split))
    starts = split.extra["offset_start"]
    for word, height in (("sat", 1.0), ("city", 3.0), ("dull", 2.0)):
        position = CONTEXT.index(word)
        feature = next(f for f in range(len(split)) if position in starts[f])
        token = starts[feature].tolist().index(position)
        stop = next(
            t
            for t in range(token, len(starts[feature]))
            if split.extra["offset_end"][feature][t] == position + len(word)
        )
        start[feature, token] = end[feature, stop] = height
    assert task.predict((start, end), split)[0]["prediction"] == "city"


def test_answers_are_no_longer_than_allowed(tiny_tokenizer):
    split = small().encode(rows(("What?", ["cat sat on the mat"])), tiny_tokenizer, training=False)
    logits = certain(split)
    assert small().predict(logits, split)[0]["prediction"] == "cat sat on the mat"
    short = small(max_answer_length=1).predict(logits, split)[0]["prediction"]
    assert len(short.split()) == 1


@pytest.mark.parametrize("n_best", [1, 3, 12])
def test_best_spans_equal_a_search_over_all_pairs(n_best):
    rng = np.random.default_rng(n_best)
    start, end = rng.normal(size=(2, 9, 12)).astype(np.float32)
    context = rng.random((9, 12)) < 0.7
    context[:, 0] = False
    source = np.array([0, 0, 1, 2, 2, 2, 3, 4, 4])
    spans = best_spans(start, end, context, source, n_best=n_best, max_answer_length=4)
    for question in range(5):
        best = (-np.inf,)
        for f in np.flatnonzero(source == question):
            inside = np.flatnonzero(context[f])
            firsts = sorted(inside, key=lambda t: -start[f, t])[:n_best]
            lasts = sorted(inside, key=lambda t: -end[f, t])[:n_best]
            pairs = [(start[f, s] + end[f, e], f, s, e) for s in firsts for e in lasts if s <= e < s + 4]
            best = max([best, *pairs])
        assert spans.score[question] == pytest.approx(best[0])
        if np.isfinite(best[0]):
            assert (spans.feature[question], spans.start[question], spans.end[question]) == best[1:]
        nulls = (start[:, 0] + end[:, 0])[source == question]
        assert spans.null[question] == pytest.approx(nulls.min())


def test_a_question_without_any_span_gets_the_empty_answer(tiny_tokenizer):
    for version in ("1.1", "2.0"):
        task = small(version)
        split = task.encode(rows(("Who?", ["dog"])), tiny_tokenizer, training=False)
        start, end = (np.full_like(logits, -np.inf) for logits in certain(split))
        start[:, 0] = end[:, 0] = 0.0
        record = task.predict((start, end), split)[0]
        assert record["prediction"] == "" and record["score"] is None
        assert task.score([record], split)["exact_match"] == 0.0


def test_long_questions_are_cut_and_leave_room(tiny_tokenizer):
    long = "what " * 100 + "?"
    split = small().encode(rows((long, ["dog"])), tiny_tokenizer, training=False)
    first_part = split.columns["token_type_ids"][0] == 0
    assert first_part.sum() == 8 + 2  # the question, [CLS] and [SEP]
    assert (split.extra["offset_start"].values >= 0).any()


def test_settings_that_cannot_work_are_refused(tiny_tokenizer):
    data = rows(*ITEMS)
    with pytest.raises(ConfigError, match="use 0 to 12"):
        small(stride=13).encode(data, tiny_tokenizer, training=True)
    with pytest.raises(ConfigError, match="'1.1' and '2.0'"):
        Squad(name="squad", version="2")
    with pytest.raises(ConfigError, match="f1 and exact_match"):
        Squad(name="squad", metric="accuracy")
    with pytest.raises(ConfigError, match="n_best"):
        Squad(name="squad", n_best=0)


def test_a_diverged_model_is_not_scored(tiny_tokenizer):
    task = small()
    split = task.encode(rows(*ITEMS), tiny_tokenizer, training=False)
    start, end = certain(split)
    end[2, 3] = np.nan
    with pytest.raises(TrainingError, match=str(split.ids[2])):
        task.predict((start, end), split)


def test_predicting_thousands_of_features_takes_seconds():
    rng = np.random.default_rng(0)
    start, end = rng.normal(size=(2, 2000, 384)).astype(np.float32)
    begin = time.perf_counter()
    best_spans(start, end, np.ones((2000, 384), bool), np.arange(2000), n_best=20, max_answer_length=30)
    assert time.perf_counter() - begin < 5.0
