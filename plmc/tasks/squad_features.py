"""From questions and paragraphs to features: overlapping token windows with the answer's place in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Encoding


def make_features(
    columns: Mapping[str, Any],
    numbers: Sequence[int],
    tokenizer: Any,
    *,
    names: Sequence[str],
    max_length: int,
    stride: int,
    max_question_length: int,
) -> dict[str, list[Any]]:
    """The features of a batch of questions, a list for each of `names`.

    Args:
        columns: `text_a` questions, `text_b` paragraphs and, if `start` and `end` are wanted, `answers`.
        numbers: the rows they are. `source` is the row of a feature, `part` its number among those of that row.
            `offset_start` and `offset_end` are the characters of the paragraph that a token covers, -1 for a token
            outside the paragraph.
    """
    encoded = tokenizer(
        _cut(columns["text_a"], tokenizer, max_question_length),
        columns["text_b"],
        truncation="only_second",
        max_length=max_length,
        stride=stride,
        return_overflowing_tokens=True,
        return_attention_mask=False,
    )
    made: dict[str, list[Any]] = {name: [] for name in names}
    part, previous = 0, -1
    for i, row in enumerate(encoded["overflow_to_sample_mapping"]):
        part, previous = (part + 1 if row == previous else 0), row
        values: dict[str, Any] = {"source": numbers[row], "part": part}
        first, offsets = _paragraph(encoded.encodings[i])
        if "start" in made:
            values["start"], values["end"] = answer_tokens(columns["answers"][row], first, offsets)
        if "offset_start" in made:
            whole = np.full((len(encoded["input_ids"][i]), 2), -1, dtype=np.int32)
            whole[first : first + len(offsets)] = offsets
            values["offset_start"], values["offset_end"] = whole[:, 0], whole[:, 1]
        for name, column in made.items():
            column.append(values[name] if name in values else encoded[name][i])
    return made


def answer_tokens(answers: Mapping[str, Sequence[Any]], first: int, offsets: np.ndarray) -> tuple[int, int]:
    """First and last token of the first of `answers`; (0, 0) if there is none or a part of it is outside the feature.

    Args:
        first: the first token of the paragraph in the feature.
        offsets: `(C, 2)`, characters of its C tokens there.
    """
    if not answers["text"] or not len(offsets):
        return 0, 0
    begin = answers["answer_start"][0]
    stop = begin + len(answers["text"][0])
    if begin < offsets[0, 0] or stop > offsets[-1, 1]:
        return 0, 0
    start = int(np.searchsorted(offsets[:, 1], begin, side="right"))
    end = int(np.searchsorted(offsets[:, 0], stop, side="left")) - 1
    return (first + start, first + end) if start <= end else (0, 0)


def _paragraph(encoding: Encoding) -> tuple[int, np.ndarray]:
    """The first token of the paragraph in a feature, and the characters `(C, 2)` that its tokens cover."""
    inside = np.array([part == 1 for part in encoding.sequence_ids])
    first, count = int(inside.argmax()), int(inside.sum())
    return first, np.array(encoding.offsets[first : first + count], dtype=np.int32).reshape(-1, 2)


def _cut(questions: Sequence[str], tokenizer: Any, length: int) -> list[str]:
    """Questions of at most `length` tokens: a longer one would leave no room for the paragraph."""
    stripped = [question.strip() for question in questions]
    encoded = tokenizer(stripped, add_special_tokens=False, return_attention_mask=False, verbose=False)
    return [
        question[: encoding.offsets[length - 1][1]] if len(encoding.ids) > length else question
        for question, encoding in zip(stripped, encoded.encodings, strict=True)
    ]
