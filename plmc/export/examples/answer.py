"""Answers questions from a text with the model in this folder.

pip install onnxruntime tokenizers
python answer.py "Who wrote it?" "It was written by Ada in 1843."

from answer import Reader
Reader().answer("Who wrote it?", "It was written by Ada in 1843.")
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent

from run_onnx import open_model  # noqa: E402, I001


class Reader:
    """`answer(question, context)` gives the best span of the context, from overlapping windows where it is long."""

    def __init__(self, folder=HERE):
        from tokenizers import Tokenizer

        self.facts = json.loads((folder / "plmc_export.json").read_text(encoding="utf-8"))
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.run = open_model(folder)

    def answer(self, question, context):
        reading = self.facts["reading"]
        self.tokenizer.no_truncation()
        question = question.strip()
        words = self.tokenizer.encode(question, add_special_tokens=False)
        if len(words.ids) > reading["max_question_length"]:
            question = question[: words.offsets[reading["max_question_length"] - 1][1]]
        self.tokenizer.enable_truncation(self.facts["max_length"], stride=reading["stride"], strategy="only_second")
        first = self.tokenizer.encode(question, context)
        best, null = {"answer": "", "score": -np.inf}, np.inf
        for window in [first, *first.overflowing]:
            # One window at a time, without padding.
            start, end = (logits[0] for logits in self.run(self.inputs(window)))
            null = min(null, float(start[0] + end[0]))
            found = self.span(start, end, window, context)
            if found["score"] > best["score"]:
                best = found
        if reading["version"] == "2.0" and null - best["score"] > reading["null_threshold"]:
            return {"answer": "", "score": null}
        return best

    def inputs(self, row):
        columns = {"input_ids": row.ids, "attention_mask": row.attention_mask, "token_type_ids": row.type_ids}
        return {name: np.array([columns[name]], np.int64) for name in self.facts["inputs"]}

    def span(self, start, end, window, context):
        """The span inside the context with the largest sum of start and end logit."""
        inside = np.array([part == 1 for part in window.sequence_ids])
        scores = np.where(inside, start, -np.inf)[:, None] + np.where(inside, end, -np.inf)[None, :]
        reading = self.facts["reading"]
        allowed = np.triu(np.tril(np.ones(scores.shape, bool), reading["max_answer_length"] - 1))
        # The best starts meet the best ends.
        for axis, logits in enumerate((start, end)):
            worse = np.argsort(-np.where(inside, logits, -np.inf), kind="stable")[reading["n_best"] :]
            allowed[(slice(None),) * axis + (worse,)] = False
        scores = np.where(allowed, scores, -np.inf)
        first, last = np.unravel_index(int(scores.argmax()), scores.shape)
        score = float(scores[first, last])
        text = context[window.offsets[first][0] : window.offsets[last][1]] if np.isfinite(score) else ""
        return {"answer": text, "score": score}


def main(words):
    if len(words) != 2 or words[0] in ("-h", "--help"):
        raise SystemExit(__doc__)
    print(json.dumps(Reader().answer(*words), ensure_ascii=False))


if __name__ == "__main__":
    main(sys.argv[1:])
