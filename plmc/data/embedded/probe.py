"""How far words alone go: a linear classifier over unigram counts, each text column with its own vocabulary."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datasets


def bag_of_words(train: datasets.Dataset, validation: datasets.Dataset) -> float:
    """Validation accuracy of a unigram logistic regression trained on `train`."""
    from sklearn.compose import make_column_transformer
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    columns = [name for name in ("text_a", "text_b") if name in train.column_names]
    words = make_column_transformer(*((CountVectorizer(token_pattern=r"\w+"), name) for name in columns))
    model = make_pipeline(words, LogisticRegression(C=0.3, max_iter=1000))
    frames = [split.select_columns([*columns, "label"]).to_pandas() for split in (train, validation)]
    return float(model.fit(frames[0], frames[0]["label"]).score(frames[1], frames[1]["label"]))
