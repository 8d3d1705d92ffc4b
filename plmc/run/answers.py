"""Answers of a model for texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plmc.errors import ConfigError


def whole_model(folder: Path) -> Any:
    """The model in `folder` with the head that its config names: one that reads, or one that classifies or scores."""
    from transformers import AutoModelForQuestionAnswering, AutoModelForSequenceClassification

    from plmc.models.load import load_whole

    kind = AutoModelForQuestionAnswering if _reads(folder) else AutoModelForSequenceClassification
    return load_whole(kind, str(folder))


def _reads(folder: Path) -> bool:
    from plmc.models.load import load_config

    return any("QuestionAnswering" in kind for kind in load_config(str(folder)).architectures or ())


def answerer(folder: Path, task: Any = None):
    """A function from rows (one or two texts each) to dicts, for the model in `folder`, trained on `task` where
    known."""
    import numpy as np
    import torch

    from plmc.models.load import load_tokenizer
    from plmc.training.batches import by_length
    from plmc.training.evaluate import TOKENS

    model, tokenizer = whole_model(folder), load_tokenizer(str(folder))
    config = model.config
    if _reads(folder):
        from plmc.track.reader import Reader

        reader = Reader(model, tokenizer)

        def read(rows: Sequence[tuple[str, ...]]) -> list[dict[str, Any]]:
            if any(len(row) != 2 for row in rows):
                raise ConfigError("this model reads: give a question and a text that answers it.")
            return [{"texts": list(row), **reader.answer(*row)} for row in rows]

        return read
    # As it was trained and judged; else as long as it can read.
    longest = task.max_length if task else min(tokenizer.model_max_length, config.max_position_embeddings, 512)

    def classify(rows: Sequence[tuple[str, ...]]) -> list[dict[str, Any]]:
        pairs = {len(row) for row in rows}
        if pairs - {1, 2} or len(pairs) != 1:
            raise ConfigError("every row must have one text, or every row two.")
        if task and pairs != {len(task.text)}:
            wanted = "one text" if len(task.text) == 1 else "two texts"
            raise ConfigError(f"this model was trained on {task.name}: give {wanted} a row, not {pairs.pop()}.")
        columns = [list(texts) for texts in zip(*rows, strict=True)]
        encoded = tokenizer(*columns, truncation=True, max_length=longest)
        lengths = np.array([len(ids) for ids in encoded["input_ids"]])
        logits = torch.empty(len(rows), config.num_labels)
        for batch in by_length(lengths, TOKENS):
            inputs = tokenizer.pad(
                {name: [column[i] for i in batch] for name, column in encoded.items()}, return_tensors="pt"
            )
            with torch.inference_mode():
                logits[batch] = model(**inputs).logits.float()
        if config.num_labels == 1:
            return [{"texts": list(row), "score": float(z[0])} for row, z in zip(rows, logits, strict=True)]
        chances = logits.softmax(-1)
        return [
            {
                "texts": list(row),
                "label": config.id2label[int(p.argmax())],
                "score": float(p.max()),
                "scores": {config.id2label[i]: float(v) for i, v in enumerate(p)},
            }
            for row, p in zip(rows, chances, strict=True)
        ]

    return classify
