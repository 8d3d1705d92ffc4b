"""Data augmentation of TinyBERT: words replaced by what fits in their place."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from plmc import digests
from plmc.console import note
from plmc.core.fields import Count, Share
from plmc.core.method import Method
from plmc.core.rows import Split, TaskData
from plmc.core.setting import Building, Setting
from plmc.errors import ConfigError, DataError
from plmc.files import replacing
from plmc.methods.augment.candidates import ByWord, Candidates, EmbeddingNeighbours, GloveNeighbours, no_neighbours
from plmc.methods.augment.masked_lm import MaskedWords, input_embeddings, load_masked_lm
from plmc.methods.augment.variants import distinct, pair_up, replace_words
from plmc.methods.augment.words import Sentence, split_words

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa
    from torch import Tensor

CHUNK = 2048

logger = logging.getLogger(__name__)


@dataclass
class Augment(Method):
    """Adds variants of the training rows in which words are replaced (Jiao et al. 2019, arXiv 1909.10351, Algorithm 1).

    Each word is replaced with probability `p` by one of `k` candidates, drawn evenly; `n` variants per row follow the
    original. Labels are copied, ids are new. The paper uses p = 0.4, n = 20, k = 15.

    `mode=paper`: every word may be replaced; in pair tasks the variants go to the two texts in turn, the other text
    being the original. `mode=official_code`: stop words and words with other characters than letters stay, duplicates
    of a text are dropped, the masked language model sees the original as second segment, each text of a pair has `n`
    variants, and those of the second are paired with the last variant of the first (a bug of that code, kept). Its n:
    10 for MNLI and QQP, 20 for SST-2 and QNLI, 30 for CoLA, MRPC, STS-B and RTE.

    Deviations of both modes: candidates are computed on the original sentence, not again on each half-changed one (as
    the official code does); they are whole words of letters and digits; spacing, punctuation and capitals of the text
    stay as they were. The stop words are those of scikit-learn.

    Composes badly with teacher caches, which grow n-fold.

    Attributes:
        max_rows: the most rows that may result; n is lowered for it.
        kinds: on tasks of another kind the method does nothing (the paper trains the last step of STS-B and SQuAD on
            the original rows). Rows are cached by input, fields and seed, and depend on nothing else.
        candidates: where words come from. `mlm`: the most probable words where the word is masked, for words of one
            piece. `embeddings`: nearest words in the teacher's input embeddings. `glove`: nearest words in the file
            `glove`. `auto`: `mlm` where the pre-trained model has a language model head, else `embeddings`.
        glove: a file of word vectors. Words of several pieces are replaced only where it is given, as in the paper: the
            mean of the embeddings of the pieces mostly finds more pieces.

    Raises:
        ConfigError: on span tasks, whose answers would move, and on candidates without a source.
        DataError: on unreadable vectors.
    """

    p: Share = 0.4
    n: Count = 20
    k: Count = 15
    candidates: Literal["auto", "mlm", "embeddings", "glove"] = "auto"
    glove: str | None = None
    mode: Literal["paper", "official_code"] = "paper"
    max_rows: Count | None = None
    kinds: Sequence[str] = ("classification", "regression")

    def check(self, setting: Setting) -> None:
        if setting.head.kind not in self.kinds:
            return
        if setting.head.per_token:
            raise ConfigError(
                f"{self.name}: replaced words would move the answers of a span task. "
                f"Remove the method: ~methods.{self.name}"
            )
        if self.glove is not None and not Path(self.glove).is_file():
            raise ConfigError(f"{self.name}: glove={self.glove} is not a file. Give an unpacked GloVe text file.")
        if self.candidates == "glove" and self.glove is None:
            raise ConfigError(
                f"{self.name}: candidates=glove needs a file. Set methods.{self.name}.glove=PATH/glove.6B.300d.txt."
            )
        if self.candidates == "mlm" and setting.mlm_source is None:
            raise ConfigError(
                f"{self.name}: candidates=mlm needs a pre-trained language model, and this run names none. "
                f"Set methods.{self.name}.candidates=embeddings."
            )
        if setting.teacher is None and setting.mlm_source is None and self.candidates in ("auto", "embeddings"):
            raise ConfigError(
                f"{self.name}: candidates={self.candidates} reads the teacher's embeddings, but there is no teacher. "
                f"Name one (teacher=bert-base), or set candidates=glove and glove=PATH."
            )

    def data(self, data: TaskData, setting: Building) -> TaskData:
        if setting.head.kind not in self.kinds:
            return data
        import pyarrow as pa
        from datasets import Dataset
        from datasets.table import InMemoryTable, MemoryMappedTable

        if data.train is None:
            raise DataError(f"{self.name}: the task has no training rows to augment. Remove it: ~methods.{self.name}")
        raw = _trained_rows(data.train)
        count = self._variants_per_text(len(raw), len(setting.text_columns))
        key = self._key(data.train, setting)
        if setting.cache is None:
            table = pa.Table.from_batches(self._batches(raw, count, setting), raw.features.arrow_schema)
            rows = Dataset(InMemoryTable(table), fingerprint=key)
        else:
            path = Path(setting.cache) / f"augment-{key}.arrow"
            if path.exists() and (wrong := digests.file_fault(path)):
                note(f"{wrong} The rows are varied again.")
                path.unlink()
            if not path.exists():
                _write(path, self._batches(raw, count, setting), raw.features.arrow_schema)
            rows = Dataset(MemoryMappedTable.from_file(str(path)), fingerprint=key)
        return data.with_train(setting.encode(rows, training=True))

    def _variants_per_text(self, rows: int, texts: int) -> list[int]:
        """How many variants of each text of a row are made."""
        # The official code varies each text n times, the paper each example.
        total = self.n * texts if self._official else self.n
        if self.max_rows is not None:
            total = min(total, self.max_rows // max(rows, 1) - 1)
        if total < 1:
            raise ConfigError(
                f"{self.name}: max_rows={self.max_rows} leaves no room for variants of {rows} rows. "
                f"Set methods.{self.name}.max_rows={2 * rows} or more, or remove the method."
            )
        return [total // texts + (text < total % texts) for text in range(texts)]

    def _key(self, train: Split, setting: Building) -> str:
        sources = [_stamp(source) for source in (self.glove, setting.mlm_source) if source is not None]
        # Those of the teacher's files are known by the files.
        if self.candidates in ("auto", "embeddings") and setting.teacher_model is not None:
            vectors = _embeddings(setting).detach().float().cpu().numpy()
            sources.append(hashlib.sha256(vectors.tobytes()).hexdigest())
        told = (train.fingerprint, asdict(self) | {"name": ""}, setting.seed, setting.text_columns, sources)
        return hashlib.sha256(repr(told).encode()).hexdigest()[:16]

    def _source(self, setting: Building) -> Candidates:
        glove = no_neighbours if self.glove is None else GloveNeighbours(self.glove, k=self.k)
        if self.candidates == "glove":
            return ByWord(glove)
        wants_mlm = self.candidates in ("mlm", "auto") and setting.mlm_source is not None
        model = load_masked_lm(str(setting.mlm_source)) if wants_mlm else None
        if model is None and self.candidates == "mlm":
            raise ConfigError(
                f"{self.name}: {setting.mlm_source} stores no language model head, so it cannot guess masked words. "
                f"Set methods.{self.name}.candidates=embeddings."
            )
        origin = "the teacher's embeddings" if model is None else setting.mlm_source
        logger.info("%s: candidates from %s", self.name, origin)
        if model is None:
            matrix = _embeddings(setting)
            return ByWord(EmbeddingNeighbours(matrix, setting.tokenizer, k=self.k, several=glove, cache=setting.cache))
        if setting.teacher_model is not None:
            model = model.to(next(setting.teacher_model.parameters()).device)
        return MaskedWords(model, setting.tokenizer, k=self.k, several=glove, with_original=self._official)

    def _batches(self, raw: datasets.Dataset, count: list[int], setting: Building) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        source, columns = self._source(setting), setting.text_columns
        next_id = max(raw["id"], default=-1) + 1
        begins: Iterable[int] = range(0, len(raw), CHUNK)
        if setting.progress is not None:
            begins = setting.progress(begins, f"{self.name}: rows x {CHUNK}", -(-len(raw) // CHUNK))
        for begin in begins:
            chunk = raw[begin : begin + CHUNK]
            texts = [[split_words(text) for text in chunk[column]] for column in columns]
            options = [source(sentences, self._eligible) for sentences in texts]
            origin: list[int] = []
            made: list[tuple[str, ...]] = []
            ids: list[int] = []
            for i, row_id in enumerate(chunk["id"]):
                # Seeded by row and text, so that the variants of a row depend on no other row.
                draws = [np.random.default_rng([setting.seed, row_id, f]) for f in range(len(columns))]
                variants = [self._variants(texts[f][i], options[f][i], count[f], draw) for f, draw in enumerate(draws)]
                rows = pair_up([column[i].text for column in texts], variants, with_last=self._official)
                made += rows
                origin += [i] * len(rows)
                ids += [row_id, *range(next_id, next_id + len(rows) - 1)]
                next_id += len(rows) - 1
            out = {name: [values[i] for i in origin] for name, values in chunk.items()}
            out |= {"id": ids} | {column: [row[f] for row in made] for f, column in enumerate(columns)}
            yield pa.RecordBatch.from_pydict(out, schema=raw.features.arrow_schema)

    def _variants(
        self, sentence: Sentence, options: Sequence[Sequence[str]], count: int, rng: np.random.Generator
    ) -> list[str]:
        texts = replace_words(sentence, options, p=self.p, count=count, rng=rng)
        return distinct(texts, sentence.text) if self._official else texts

    @property
    def _official(self) -> bool:
        return self.mode == "official_code"

    def _eligible(self, word: str) -> bool:
        from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

        return not self._official or (word.isalpha() and word.lower() not in ENGLISH_STOP_WORDS)


def _trained_rows(train: Split) -> datasets.Dataset:
    """The raw rows that training uses, in raw order: a run may use part of a split."""
    used = np.unique(train.source)
    return train.raw if len(used) == len(train.raw) else train.raw.select(used)


def _stamp(source: str) -> str:
    """Changes when the files of a local `source` do; a Hub id is returned as it is."""
    path = Path(source)
    files = sorted(path.glob("*")) if path.is_dir() else [path] if path.is_file() else []
    return repr((str(source), [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]))


def _embeddings(setting: Building) -> Tensor:
    """The teacher's input embeddings `(V, D)`; where no method learns from it, as its files have them."""
    if setting.teacher_model is not None:
        found: Tensor = setting.teacher_model.get_input_embeddings().weight
        return found
    return input_embeddings(str(setting.mlm_source))


def _write(path: Path, batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> None:
    """Writes an Arrow stream that is either complete or not there."""
    import pyarrow as pa

    with replacing(path) as partial:
        with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        digests.seal_file(path, partial)
