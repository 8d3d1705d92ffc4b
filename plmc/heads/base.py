"""What a kind of task is: how a model is built for it, asked, taught, judged and served."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from plmc.core.rows import by_length
from plmc.core.view import Outputs
from plmc.errors import ConfigError

if TYPE_CHECKING:
    from plmc.core.batch import Batch
    from plmc.core.rows import Split
    from plmc.core.view import View


class Head:
    """A kind of task. Everything that differs between kinds is a fact or a function here; nothing else asks for a name.

    A head holds no state and no weights: the weights are in the model that `auto_class` builds. A task names its head:
    `head: ClassVar[Head] = ClassificationHead()`.

    Attributes:
        kind: the name in configs and records, such as `classification`.
        suffix: the end of the names of transformers' classes with this head, such as `ForSequenceClassification`.
        pipeline: the task of `transformers.pipeline`.
        sample: the arguments of that pipeline in an example, as Python code; `model` is the pipeline.
        parts: tensors of logits that a model returns.
        per_token: a logit belongs to a token and a label is a place in the row, `(B, T)`.
        has_classes: logits are those of the task's classes, `(B, C)`.
        over_vocabulary: logits are those of the tokens of the vocabulary; they are too many to be stored.
        supervised: rows come with labels; otherwise the labels are made from the text itself.
        said: the field of a record that metrics compare with its `label`.
        pictured: `plmc.report.plots` draws the records.
        example_file: the example that an export carries; None if such models cannot be exported.
        mlflow_pipeline: transformers' pipeline class in MLflow; None if MLflow gets no model of this kind.
        mlflow_config: entries that MLflow's pipeline needs in the model's config.
        mlflow_code: a file that answers in place of the pipeline where transformers has none.
    """

    kind: ClassVar[str]
    suffix: ClassVar[str]
    pipeline: ClassVar[str]
    sample: ClassVar[str] = '"A sentence."'
    parts: ClassVar[int] = 1
    per_token: ClassVar[bool] = False
    has_classes: ClassVar[bool] = False
    over_vocabulary: ClassVar[bool] = False
    supervised: ClassVar[bool] = True
    said: ClassVar[str] = "prediction"
    pictured: ClassVar[bool] = False
    example_file: ClassVar[str | None] = None
    mlflow_pipeline: ClassVar[str | None] = None
    mlflow_config: ClassVar[Mapping[str, str]] = {}
    mlflow_code: ClassVar[Path | None] = None

    # The model.

    def auto_class(self) -> Any:
        """The class of transformers that builds and loads models of this kind."""
        raise NotImplementedError

    def outputs(self, labels: Sequence[str]) -> int:
        """Width of the model's head for a task with these class names."""
        raise NotImplementedError

    def config(self, labels: Sequence[str]) -> dict[str, Any]:
        """Entries of the model's config that describe its head."""
        return {}

    def loaded(self, model: nn.Module, name: str) -> None:
        """Called once a model of this kind is read from the folder or Hub id `name`; may complete it."""

    def moved(self, source: nn.Module, target: nn.Module) -> None:
        """Called when the encoder of `source` has been copied below the fresh head of `target`."""

    # A batch: B rows of T tokens.

    def ask(
        self, model: nn.Module, batch: Batch, *, scores: bool = False, all_tokens: bool = False, **options: Any
    ) -> Outputs:
        """One forward of `model`.

        Args:
            model: of `auto_class`.
            batch: its rows; where labels decide which logits are computed, with labels.
            scores: the model returns scores before mask and softmax in place of attention maps (see `use_scores`).
            all_tokens: logits at every real token, for heads over the vocabulary; else where something is hidden.
            options: more arguments of the model, such as `output_hidden_states=True`.

        Returns:
            Logits in float32, one tensor a part, and what `options` asked for.
        """
        return self.read(model(**batch.inputs, **options), scores=scores)

    def read(self, output: Any, *, scores: bool = False) -> Outputs:
        """`Outputs` from what a transformers model returns."""
        return outputs_of(output, tuple(part.float() for part in self.logits(output)), scores=scores)

    def logits(self, output: Any) -> tuple[Tensor, ...]:
        """The tensors of logits in what a transformers model returns."""
        return (output.logits,)

    def labels(self, batch: Batch, *, all_tokens: bool = False) -> Tensor | None:
        """The batch's labels in the order of the logits that `ask` returns; None for rows without any."""
        return batch.labels

    def places(self, batch: Batch, *, all_tokens: bool = False) -> Tensor | None:
        """For `View.places`: the row of each position that `ask` returns logits of; None where they are of rows."""
        return None

    # Losses: `(B,)`, a value for each row.

    def gold(self, view: View) -> Tensor:
        """Loss of the student against the gold labels, as in plain fine-tuning."""
        raise NotImplementedError

    def divergence(self, view: View, *, temperature: float) -> Tensor:
        """Distance of the student's answers from the teacher's: 0 if they are equal, with the factor T² of
        distillation.

        Args:
            view: with a teacher.
            temperature: T > 0 of both softmaxes; without effect where answers are no distributions.
        """
        raise NotImplementedError

    def soft_cross_entropy(self, view: View, *, temperature: float) -> Tensor:
        """Cross-entropy of the student under the teacher's distribution, without the factor T²."""
        raise NotImplementedError

    # A whole split of N rows.

    def loss(self, logits: Sequence[np.ndarray], split: Split) -> float | None:
        """Mean gold loss of the rows, from what `gather` kept; None where the task's own metrics have it."""
        return None

    def gather(self, logits: Sequence[Tensor], batch: Batch) -> tuple[np.ndarray, ...]:
        """What is kept of a batch's logits when all rows are judged: arrays with a first axis of B rows."""
        return tuple(part.float().cpu().numpy() for part in logits)

    def blank(self, values: np.ndarray, split: Split) -> np.ndarray:
        """An array for all N rows of `split` into which `gather`'s `values` of some rows fit."""
        return np.full((len(split), *values.shape[1:]), -np.inf, dtype=np.float32)

    def record(self, scores: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
        """The answer to one row in words: `prediction`, and what else metrics and pictures need.

        Args:
            scores: the row's logits `(C,)`, float64.
            labels: class names by id.
        """
        raise NotImplementedError

    # People and servers.

    def answers(
        self, model: Any, tokenizer: Any, rows: Sequence[tuple[str, ...]], max_length: int
    ) -> list[dict[str, Any]]:
        """Answers to raw texts (one or two a row), a dict each with `texts` and what `plmc predict` prints.

        Raises:
            ConfigError: rows have the wrong number of texts for this kind, or models of this kind answer no texts.
        """
        raise NotImplementedError

    def columns(self, pair: bool) -> tuple[list[str | None], list[tuple[str, str]]]:
        """Names of the text inputs, and name and type of the outputs, of an MLflow model."""
        inputs: list[str | None] = ["text", "text_pair"] if pair else [None]
        return inputs, [("label", "string"), ("score", "double")]

    def example(self, texts: Sequence[str]) -> str | dict[str, str]:
        """One input of an MLflow model from the texts of a row."""
        names, _ = self.columns(len(texts) == 2)
        return texts[0] if len(texts) == 1 else dict(zip((str(name) for name in names), texts, strict=True))


def asked(needs: Collection[str], whose: str = "") -> dict[str, bool]:
    """The options of `Head.ask` that methods `need`; of a teacher with `whose="teacher."`."""
    scores = f"{whose}scores" in needs
    options = {"scores": scores, "all_tokens": "all_tokens" in needs}
    if f"{whose}hidden_states" in needs:
        options["output_hidden_states"] = True
    if scores:
        options["output_attentions"] = True
    return options


def outputs_of(output: Any, logits: tuple[Tensor, ...], *, scores: bool) -> Outputs:
    """`Outputs` with these logits and with the inner states in what a transformers model returns."""
    return Outputs(
        logits=logits,
        hidden_states=output.hidden_states if "hidden_states" in output else None,
        # What `use_scores` makes the model return in place of attention maps.
        scores=output.attentions if scores else None,
    )


def padded_logits(
    model: Any, tokenizer: Any, rows: Sequence[tuple[str, ...]], *, max_length: int, width: int
) -> Tensor:
    """Logits `(N, width)` of raw texts, in float32, in batches of similar length.

    Raises:
        ConfigError: some rows have one text and others two.
    """
    pairs = {len(row) for row in rows}
    if pairs - {1, 2} or len(pairs) != 1:
        raise ConfigError("every row must have one text, or every row two.")
    columns = [list(texts) for texts in zip(*rows, strict=True)]
    encoded = tokenizer(*columns, truncation=True, max_length=max_length)
    lengths = np.array([len(ids) for ids in encoded["input_ids"]])
    logits = torch.empty(len(rows), width)
    for batch in by_length(lengths):
        inputs = tokenizer.pad(
            {name: [column[i] for i in batch] for name, column in encoded.items()}, return_tensors="pt"
        )
        with torch.inference_mode():
            logits[batch] = model(**inputs).logits.float()
    return logits
