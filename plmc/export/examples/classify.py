"""Classifies texts with the model in this folder.

pip install onnxruntime tokenizers
python classify.py "a moving film"
python classify.py "A man is singing." "Someone sings."      for a model on pairs: first and second text

from classify import Classifier
Classifier().classify(["a moving film", "dull"])             for pairs: [("first", "second"), …]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
BATCH = 16

from run_onnx import open_model  # noqa: E402, I001


class Classifier:
    """`classify(texts)` gives a dict for each text: label and score of every class, or the score of a regression."""

    def __init__(self, folder=HERE):
        from tokenizers import Tokenizer

        self.facts = json.loads((folder / "plmc_export.json").read_text(encoding="utf-8"))
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(self.facts["max_length"])
        self.run = open_model(folder)

    def classify(self, texts):
        encoded = self.tokenizer.encode_batch(list(texts))
        logits = np.zeros((len(encoded), max(1, len(self.facts["labels"]))), np.float32)
        # Texts of like length go together: padding costs as much time as text does.
        order = sorted(range(len(encoded)), key=lambda i: len(encoded[i].ids))
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            logits[chosen] = self.run(self.inputs([encoded[i] for i in chosen]))[0]
        return [self.describe(row) for row in logits]

    def inputs(self, rows):
        """Padded arrays of the inputs that the model takes."""
        width = max(len(row.ids) for row in rows)
        columns = {"input_ids": ("ids", self.facts["pad_id"]), "attention_mask": ("attention_mask", 0)}
        columns["token_type_ids"] = ("type_ids", 0)
        found = {}
        for name in self.facts["inputs"]:
            column, padding = columns[name]
            found[name] = np.full((len(rows), width), padding, np.int64)
            for i, row in enumerate(rows):
                found[name][i, : len(row.ids)] = getattr(row, column)
        return found

    def describe(self, logits):
        labels = self.facts["labels"]
        if not labels:
            return {"score": float(logits[0])}
        chances = np.exp(logits - logits.max())
        chances /= chances.sum()
        best = int(chances.argmax())
        scores = {label: float(chance) for label, chance in zip(labels, chances, strict=True)}
        return {"label": labels[best], "score": float(chances[best]), "scores": scores}


def main(words):
    if not words or words[0] in ("-h", "--help"):
        raise SystemExit(__doc__)
    classifier = Classifier()
    pair = classifier.facts["texts"] == 2
    if pair and len(words) % 2:
        raise SystemExit("This model compares two texts: give a first and a second one.")
    texts = list(zip(words[::2], words[1::2], strict=True)) if pair else words
    for text, answer in zip(texts, classifier.classify(texts), strict=True):
        print(json.dumps({"text": text, **answer}, ensure_ascii=False))


if __name__ == "__main__":
    main(sys.argv[1:])
