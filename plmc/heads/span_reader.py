"""Answers questions with a span-extraction model; travels inside the MLflow model, so it imports nothing of plmc."""

from __future__ import annotations

from typing import Any


class Reader:
    """`predict(DataFrame with question, context)` -> DataFrame with answer and score, one row each.

    The score of a span is start logit + end logit; the best span of at most `max_answer` tokens inside the context
    wins, over all windows of a context that is longer than `max_length` tokens (windows overlap by `stride`).
    """

    def __init__(
        self, model: Any, tokenizer: Any, *, max_length: int = 384, stride: int = 128, max_answer: int = 30
    ) -> None:
        limits = [max_length, model.config.max_position_embeddings, tokenizer.model_max_length]
        self.model, self.tokenizer = model.eval(), tokenizer
        self.max_length, self.max_answer = min(limits), max_answer
        self.stride = min(stride, self.max_length // 4)

    def predict(self, rows: Any, params: dict[str, Any] | None = None) -> Any:
        import pandas

        return pandas.DataFrame([self.answer(row["question"], row["context"]) for _, row in rows.iterrows()])

    def answer(self, question: str, context: str) -> dict[str, Any]:
        import torch

        windows = self.tokenizer(
            question,
            context,
            truncation="only_second",
            max_length=self.max_length,
            stride=self.stride,
            padding=True,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_tensors="pt",
        )
        offsets = windows.pop("offset_mapping")
        windows.pop("overflow_to_sample_mapping")
        inside = torch.tensor([[part == 1 for part in windows.sequence_ids(i)] for i in range(len(offsets))])
        with torch.inference_mode():
            out = self.model(**windows)
        start = out.start_logits.float().masked_fill(~inside, -torch.inf)
        end = out.end_logits.float().masked_fill(~inside, -torch.inf)
        # (windows, T, T): keep start <= end < start + max_answer.
        spans = start[:, :, None] + end[:, None, :]
        allowed = torch.ones_like(spans, dtype=torch.bool).triu().tril(self.max_answer - 1)
        spans = spans.masked_fill(~allowed, -torch.inf)
        window, first, last = (int(i) for i in torch.unravel_index(spans.argmax(), spans.shape))
        begin, stop = int(offsets[window, first, 0]), int(offsets[window, last, 1])
        return {"answer": context[begin:stop], "score": float(spans[window, first, last])}


def _load_pyfunc(path: str, model_config: dict[str, Any] | None = None) -> Reader:
    # MLflow calls this by name with the folder of the model.
    from pathlib import Path

    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    folder = Path(path)
    return Reader(
        AutoModelForQuestionAnswering.from_pretrained(folder / "model", trust_remote_code=False),
        AutoTokenizer.from_pretrained(folder / "components" / "tokenizer", trust_remote_code=False),
        **(model_config or {}),
    )
