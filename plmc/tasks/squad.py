"""SQuAD 1.1 and 2.0: extract the answer to a question from a paragraph (Rajpurkar et al. 2016, 2018)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from plmc.core.fields import Amount, Count, Length
from plmc.core.rows import Split
from plmc.data.encode import TOKENS, cached, check_length, fingerprint, ragged, tokenise
from plmc.data.squad_json import load_squad, squad_files
from plmc.errors import ConfigError, DataError, TrainingError
from plmc.heads.base import Head
from plmc.heads.span import SpanHead
from plmc.tasks.base import Task
from plmc.tasks.squad_features import make_features
from plmc.tasks.squad_metric import best_threshold, evaluate, raw_scores
from plmc.tasks.squad_predict import best_spans, dense

if TYPE_CHECKING:
    import datasets

    from plmc.data.hub import Hub
    from plmc.data.local import Local

# Ids of the features of one question are neighbours; no paragraph makes more features than this.
_FEATURES_MAX = 1 << 16
_ENDS = {"start": "int32", "end": "int32"}
_OFFSETS = {"offset_start": "int32", "offset_end": "int32"}


@dataclass(frozen=True, kw_only=True)
class Squad(Task):
    """SQuAD; a long paragraph becomes several overlapping features of `max_length` tokens.

    Labels are `(N, 2)`, first and last token of the first gold answer; (0, 0), the [CLS] token, where there is none or
    it is outside the feature. Records: `id`, `key`, `prediction`, `answer` (the best span, even if `prediction` is
    ""), `score`, `null_score`, and `label`, the list of gold answers.

    Needs a fast tokenizer whose first token is [CLS].

    Attributes:
        version: `1.1` or `2.0`; only in 2.0 a question may have no answer.
        stride: tokens that neighbouring features share.
        max_question_length: tokens of a question that are kept.
        n_best: starts and ends tried per feature.
        max_answer_length: tokens of an answer.
        null_threshold: 2.0 answers "" where the score of no answer exceeds that of the best span by more than this.
    """

    head: ClassVar[Head] = SpanHead()
    version: str | float = "1.1"
    metric: str = "f1"
    max_length: Length = 384
    stride: Amount = 128
    max_question_length: Count = 64
    n_best: Count = 20
    max_answer_length: Count = 30
    null_threshold: float = 0.0

    def __post_init__(self) -> None:
        if self.version not in ("1.1", "2.0"):
            raise ConfigError(f"task.version={self.version}: SQuAD has the versions '1.1' and '2.0' (in quotes).")
        if self.metric not in self.metrics:
            raise ConfigError(f"task.metric={self.metric}: SQuAD is measured by {' and '.join(self.metrics)}.")
        for name in ("n_best", "max_answer_length", "max_question_length"):
            if getattr(self, name) < 1:
                raise ConfigError(f"task.{name}={getattr(self, name)}: use 1 or more.")

    @property
    def metrics(self) -> tuple[str, ...]:
        return ("f1", "exact_match")

    @property
    def text(self) -> tuple[str, ...]:
        return ("text_a", "text_b")

    @property
    def hub_dataset(self) -> str:
        return "rajpurkar/squad" if self.version == "1.1" else "rajpurkar/squad_v2"

    def from_hub(self, source: Hub) -> dict[str, datasets.Dataset]:
        return source.squad(self)

    def files(self, source: Local) -> dict[str, Path]:
        return squad_files(source.folder, str(self.version), source.named)

    def from_files(self, source: Local) -> dict[str, datasets.Dataset]:
        return load_squad(source.folder, str(self.version), source.named)

    @property
    def reading(self) -> dict[str, Any]:
        names = ("version", "stride", "max_question_length", "n_best", "max_answer_length", "null_threshold")
        return {name: getattr(self, name) for name in names}

    def encode(self, rows: datasets.Dataset, tokenizer: Any, *, training: bool, cache: Path | None = None) -> Split:
        """See `Task.encode`. The character offsets that `predict` needs are left out of training rows."""
        self.check(tokenizer)
        options = (self.version, self.max_length, self.stride, self.max_question_length, training)
        key = fingerprint(rows, tokenizer, squad=options)
        names = [name for name in TOKENS if name in tokenizer.model_input_names]
        labelled = "answers" in rows.column_names
        lists = {name: TOKENS[name] for name in names} | ({} if training else _OFFSETS)
        single = {"source": "int32", "part": "int32"} | (_ENDS if labelled else {})

        def batch(columns: Mapping[str, Any], numbers: list[int]) -> dict[str, Any]:
            return make_features(
                columns,
                numbers,
                tokenizer,
                names=(*lists, *single),
                max_length=self.max_length,
                stride=self.stride,
                max_question_length=self.max_question_length,
            )

        wanted = ["text_a", "text_b"] + ["answers"] * labelled
        stored = cached(key, cache, lambda: tokenise(rows.select_columns(wanted), batch, lists, key, single))
        source, part = (_integers(stored, name) for name in ("source", "part"))
        return Split(
            columns={name: ragged(stored, name) for name in names},
            labels=np.stack([_integers(stored, name) for name in _ENDS], axis=1) if labelled else None,
            ids=_integers(rows, "id")[source] * _FEATURES_MAX + part,
            raw=rows,
            source=source,
            fingerprint=key,
            extra={} if training else {name: ragged(stored, name) for name in _OFFSETS},
        )

    def check(self, tokenizer: Any) -> None:
        check_length(self.max_length, tokenizer, pair=True)
        room = self.max_length - self.max_question_length - tokenizer.num_special_tokens_to_add(pair=True)
        if not 0 <= self.stride < room:
            raise ConfigError(
                f"task.stride={self.stride}: with max_length={self.max_length} and max_question_length="
                f"{self.max_question_length} a feature holds {room} tokens of the paragraph; use 0 to {room - 1}."
            )
        if tokenizer.cls_token_id is None or tokenizer("a")["input_ids"][0] != tokenizer.cls_token_id:
            raise ConfigError("SQuAD marks 'no answer' at a first token [CLS], which this tokenizer does not write.")

    def predict(self, logits: Sequence[np.ndarray], split: Split) -> list[dict[str, Any]]:
        if not split.extra:
            raise DataError(
                "These SQuAD rows were tokenised for training: they lack the offsets that answers are cut by."
            )
        start, end = (np.asarray(array) for array in logits)
        bad = np.isnan(start).any(axis=1) | np.isnan(end).any(axis=1)
        if bad.any():
            row = split.ids[bad.argmax()]
            raise TrainingError(f"The model's output for row {row} of {self.name} is not a number; it diverged.")
        first, last = (dense(split.extra[name], start.shape[1], -1) for name in _OFFSETS)
        spans = best_spans(
            start, end, first >= 0, split.source, n_best=self.n_best, max_answer_length=self.max_answer_length
        )
        begins, ends = first[spans.feature, spans.start], last[spans.feature, spans.end]
        ids, keys, contexts = split.raw["id"][:], split.raw["key"][:], split.raw["text_b"][:]
        golds = split.raw["answers"][:] if "answers" in split.raw.column_names else None
        records = []
        for row, (key, context) in enumerate(zip(keys, contexts, strict=True)):
            score, null = float(spans.score[row]), float(spans.null[row])
            found = np.isfinite(score)
            answer = context[begins[row] : ends[row]] if found else ""
            refused = self.version == "2.0" and null - score > self.null_threshold
            record = {"id": int(ids[row]), "key": key, "prediction": "" if refused else answer, "answer": answer}
            record |= {"score": score if found else None, "null_score": null}
            if golds is not None:
                record["label"] = list(golds[row]["text"])
            records.append(record)
        if golds is not None:
            # Pictures and significance tests are by question.
            said, right = [r["prediction"] for r in records], [r["label"] for r in records]
            for record, exact, f1 in zip(records, *raw_scores(said, right, str(self.version)), strict=True):
                record |= {"exact_match": float(exact), "f1": float(f1)}
        return records

    def score(self, records: Sequence[Mapping[str, Any]], split: Split) -> dict[str, float]:
        """`f1` and `exact_match`; for 2.0 also each with `has_answer_`, `no_answer_` and `best_` before it.

        `best_` is at the threshold that suits these very rows best, so it is an upper bound.
        """
        golds = self._golds(records)
        result = evaluate([record["prediction"] for record in records], golds, str(self.version))
        if self.version == "2.0":
            result |= {f"best_{name}": best for name, (best, _) in self._best(records, golds).items()}
        return result

    def _best(self, records: Sequence[Mapping[str, Any]], golds: Sequence[Sequence[str]]):
        exact, f1 = raw_scores([record["answer"] for record in records], golds, str(self.version))
        # A question without any span is refused at every threshold.
        margins = [r["null_score"] - r["score"] if r["score"] is not None else np.inf for r in records]
        answerable = np.array([bool(answers) for answers in golds])
        scores = {"exact_match": exact, "f1": f1}
        return {name: best_threshold(values, np.array(margins), answerable) for name, values in scores.items()}

    def _golds(self, records: Sequence[Mapping[str, Any]]) -> list[Sequence[str]]:
        if not records or any("label" not in record for record in records):
            raise DataError(f"{self.name}: these rows have no gold answers, so there is nothing to score.")
        return [record["label"] for record in records]


def _integers(rows: datasets.Dataset, name: str) -> np.ndarray:
    return rows.with_format("arrow")[:].column(name).to_numpy().astype(np.int64)
