"""Words that may replace a word, by what a masked language model expects in its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from plmc.errors import DataError
from plmc.methods.augment.candidates import Eligible, Neighbours
from plmc.methods.augment.words import Sentence, whole_words

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TOKENS_PER_BATCH = 4096


class _Masked(NamedTuple):
    ids: list[int]
    types: list[int]
    position: int
    sentence: int
    word: int


class MaskedWords:
    """The k most probable whole words where a word of one piece is masked; `several` serves words of several pieces.

    Candidates are computed once per word, on the original sentence.

    Needs a fast tokenizer with a mask token.

    Attributes:
        with_original: the unmasked sentence follows as second segment. Words cut off by the model's maximum length get
            none.

    Raises:
        DataError: if the tokenizer does not belong to the model.
    """

    def __init__(self, model: Any, tokenizer: Any, *, k: int, several: Neighbours, with_original: bool = False):
        if tokenizer.mask_token_id is None or len(tokenizer) > len(model.get_input_embeddings().weight):
            raise DataError(
                "augment: the masked language model does not belong to the student's tokenizer. "
                "Set candidates=embeddings, or use a teacher with the student's vocabulary."
            )
        self._model, self._tokenizer = model.eval(), tokenizer
        self._several, self._with_original = several, with_original
        ids, self._texts = whole_words(tokenizer)
        self._whole = torch.tensor(ids, device=model.device)
        self._k = min(k, len(ids))
        # RoBERTa numbers positions from padding_idx + 1, so two of its rows are never reached.
        self._max_length = min(tokenizer.model_max_length, model.config.max_position_embeddings - 2)

    def __call__(self, sentences: Sequence[Sentence], eligible: Eligible) -> list[list[Sequence[str]]]:
        found: list[list[Sequence[str]]] = [[()] * len(sentence.words) for sentence in sentences]
        masked, several = self._mask(sentences, eligible)
        masked.sort(key=lambda m: len(m.ids))
        for batch in _batches(masked):
            for item, best in zip(batch, self._predict(batch).tolist(), strict=True):
                found[item.sentence][item.word] = tuple(self._texts[row] for row in best)
        neighbours = self._several(sorted({sentences[i].words[j] for i, j in several}))
        for i, j in several:
            found[i][j] = neighbours[sentences[i].words[j]]
        return found

    def _mask(self, sentences: Sequence[Sentence], eligible: Eligible) -> tuple[list[_Masked], list[tuple[int, int]]]:
        texts = [sentence.text for sentence in sentences]
        encoded = self._tokenizer(
            texts,
            texts if self._with_original else None,
            truncation=True,
            max_length=self._max_length,
            return_offsets_mapping=True,
            return_token_type_ids=True,
        )
        masked, several = [], []
        for i, sentence in enumerate(sentences):
            ids, segments = encoded["input_ids"][i], encoded.sequence_ids(i)
            starts = [
                (begin, position)
                for position, (begin, _) in enumerate(encoded["offset_mapping"][i])
                if segments[position] == 0
            ]
            for j, (begin, end) in enumerate(sentence.spans):
                if not eligible(sentence.words[j]):
                    continue
                pieces = [position for start, position in starts if begin <= start < end]
                if len(pieces) == 1:
                    changed = list(ids)
                    changed[pieces[0]] = self._tokenizer.mask_token_id
                    masked.append(_Masked(changed, encoded["token_type_ids"][i], pieces[0], i, j))
                elif pieces:
                    several.append((i, j))
        return masked, several

    @torch.no_grad()
    def _predict(self, batch: list[_Masked]) -> Tensor:
        """Rows of the k best whole words for each item, `(B, k)`."""
        device, width = self._model.device, max(len(item.ids) for item in batch)

        def padded(rows: list[list[int]], filler: int) -> Tensor:
            return torch.tensor([row + [filler] * (width - len(row)) for row in rows], device=device)

        inputs = {
            "input_ids": padded([item.ids for item in batch], self._tokenizer.pad_token_id),
            "attention_mask": padded([[1] * len(item.ids) for item in batch], 0),
        }
        # The tokenizer is the student's, which may know no types where this model does.
        if getattr(self._model.config, "type_vocab_size", 0) > 1:
            inputs["token_type_ids"] = padded([item.types for item in batch], 0)
        positions = torch.tensor([item.position for item in batch], device=device)
        logits = self._model(**inputs).logits[torch.arange(len(batch), device=device), positions]
        return logits[:, self._whole].topk(self._k, dim=-1).indices


def load_masked_lm(source: str | Path) -> PreTrainedModel | None:
    """The masked language model in the folder or Hub repository `source`; None if it stores no language model head.

    Raises:
        DataError: if nothing can be loaded from there.
    """
    from transformers import AutoModelForMaskedLM

    try:
        # A missing head is an answer here, not a fault: the library's report of it would only alarm.
        with _quiet():
            model, report = AutoModelForMaskedLM.from_pretrained(
                source, output_loading_info=True, trust_remote_code=False
            )
    except (OSError, ValueError) as error:
        raise DataError(
            f"augment: no masked language model could be loaded from {source}: {error}. "
            f"Set candidates=embeddings to take similar words from the teacher's embeddings instead."
        ) from error
    # Transformers fills a missing head with random numbers, whose guesses would be noise.
    return None if report["missing_keys"] else model


def input_embeddings(source: str | Path) -> Tensor:
    """The input embeddings `(V, D)` of the model in the folder or Hub repository `source`.

    Raises:
        DataError: if nothing can be loaded from there.
    """
    from transformers import AutoModel

    try:
        with _quiet():
            model = AutoModel.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise DataError(f"augment: no model could be loaded from {source}: {error}.") from error
    found: Tensor = model.get_input_embeddings().weight
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _batches(items: list[_Masked]) -> Iterator[list[_Masked]]:
    """Consecutive items, as many as `TOKENS_PER_BATCH` holds when padded; `items` are sorted by length."""
    begin = 0
    for end, item in enumerate(items):
        if end > begin and (end - begin + 1) * len(item.ids) > TOKENS_PER_BATCH:
            yield items[begin:end]
            begin = end
    if begin < len(items):
        yield items[begin:]
