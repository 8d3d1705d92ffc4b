"""Tiny models, rows and trainers: one stage from end to end, as a run does it, in a tenth of a second."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import nn
from transformers import BertConfig, BertForQuestionAnswering, BertForSequenceClassification, PreTrainedTokenizerFast

from plmc.core.chain import Chain
from plmc.core.method import Method
from plmc.core.rows import Ragged, Split, TaskData
from plmc.core.setting import Building
from plmc.core.stage import Stage
from plmc.heads.base import Head
from plmc.heads.classification import ClassificationHead, RegressionHead
from plmc.heads.masked_lm import MaskedLMHead
from plmc.heads.span import SpanHead
from plmc.models.attention import use_scores
from plmc.models.encoder import dims
from plmc.teachers.live import Live
from plmc.training.evaluate import logits_of
from plmc.training.objective import Objective
from plmc.training.plan import Judge, Plan, Saving
from plmc.training.progress import Outcome, Progress
from plmc.training.trainer import Trainer

HEADS: dict[str, Head] = {
    head.kind: head for head in (ClassificationHead(), RegressionHead(), SpanHead(), MaskedLMHead())
}
"""Every head of plmc, by its kind."""
WORDS = (
    "the a an is was it of in to and film good bad great dull boring fine not very he she who what when where "
    "cat dog sat on mat runs eats sees house city river answer question 1 2 3 10 . , ? ! ' \" - ( )"
).split()
"""The words that `tiny_tokenizer` knows as a whole."""
VOCABULARY, CLASSES, PAD = 60, 3, 0
STAGE = {"steps": 8, "batch_size": 4, "lr": 1e-3, "warmup": "25%", "eval_every": 3, "select": "best"}
AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def bert(
    seed: int = 0, *, layers: int = 2, dropout: float = 0.1, kind: str = "classification", vocabulary: int = VOCABULARY
) -> nn.Module:
    """A random BERT of width 32 with a head for `kind`."""
    torch.manual_seed(seed)
    config = BertConfig(  # type: ignore[call-arg]
        vocab_size=vocabulary,
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=24,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        num_labels=CLASSES if kind == "classification" else 2,
    )
    return (BertForQuestionAnswering if kind == "span" else BertForSequenceClassification)(config)


def rows(count: int = 22, *, seed: int = 0, kind: str = "classification", shortest: int = 3, longest: int = 9) -> Split:
    """Random rows of different lengths; ids are 100, 101, …"""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(shortest, longest + 1, count)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    values = rng.integers(1, VOCABULARY, offsets[-1])
    ids, kinds = Ragged(values, offsets), Ragged(values % 2, offsets)
    if kind == "span":
        labels = np.stack([rng.integers(0, lengths), rng.integers(0, lengths)], axis=1)
    else:
        labels = values[offsets[:-1]] % CLASSES
    import datasets

    number = np.arange(count)
    texts = [" ".join(f"w{value}" for value in ids[row]) for row in range(count)]
    raw = datasets.Dataset.from_dict({"id": number, "text_a": texts, "label": labels.tolist()})
    columns = {"input_ids": ids, "token_type_ids": kinds}
    return Split(columns, labels.astype(np.int64), number + 100, raw, number, f"rows-{count}-{seed}-{kind}")


def words() -> PreTrainedTokenizerFast:
    """A tokenizer whose token number i is the word wi."""
    names = {f"w{i}": i for i in range(1, VOCABULARY)} | {"[PAD]": PAD}
    unknown = f"w{VOCABULARY - 1}"  # a special token is found inside words, too, so no other may begin like it
    made = Tokenizer(WordLevel(names, unk_token=unknown))
    made.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token=unknown)


def encode(raw: Any, *, training: bool) -> Split:
    """Rows as `rows` makes them, from their texts."""
    tokens = [[int(word[1:]) for word in text.split()] for text in raw["text_a"]]
    values = np.array([token for row in tokens for token in row])
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in tokens])])
    columns = {"input_ids": Ragged(values, offsets), "token_type_ids": Ragged(values % 2, offsets)}
    number = np.arange(len(raw))
    return Split(columns, np.array(raw["label"], dtype=np.int64), number + 100, raw, number, raw._fingerprint)


def score(model: nn.Module, split: Split) -> dict[str, float]:
    """Accuracy, and the mean log-probability of the gold class, which moves with every weight."""
    logits = torch.from_numpy(logits_of(model, split, HEADS["classification"], pad_id=PAD)[0])
    gold = torch.from_numpy(split.labels)
    right = (logits.argmax(-1) == gold).double().mean()
    return {"likelihood": -float(F.cross_entropy(logits, gold)), "accuracy": float(right)}


@dataclass
class Rig:
    """One stage, ready to `fit`; `logs` collects every value by step, `warnings` every warning."""

    model: Any
    chain: Chain
    setting: Building
    trainer: Trainer
    teacher: nn.Module | None
    logs: dict[int, dict[str, float]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    stop_after: int | None = None
    outcome: Outcome | None = None

    def log(self, values: Mapping[str, float], step: int) -> None:
        told = {name: value for name, value in values.items() if name != "samples_per_s"}
        self.logs.setdefault(step, {}).update(told)
        if self.stop_after is not None and step > self.stop_after:
            raise Interrupted(step)

    def fit(self) -> Rig:
        before = self.model.config._attn_implementation
        needs = self.chain.required()
        if "scores" in needs:
            use_scores(self.model)
        self.outcome = self.trainer.fit()
        self.model.set_attn_implementation(before)
        self.model = self.chain.finish(self.model, self.setting)
        return self

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        return {name: value.clone() for name, value in self.trainer.objective.state_dict().items()}


class Interrupted(Exception):
    """The end of a process in the middle of a stage."""


def rig(
    methods: Mapping[str, Method],
    folder: Path,
    *,
    model: Any = None,
    teacher: Any = None,
    split: Split | None = None,
    kind: str = "classification",
    precision: str = "fp32",
    seed: int = 1,
    evaluate: Any = "score",
    source: Callable | None = None,
    stop_after: int | None = None,
    checkpoint_steps: int | None = None,
    log_every: int = 1,
    signature: str = "this-run",
    **stage_options,
) -> Rig:
    """A stage over `methods`, checked and prepared. `source` replaces the live teacher; `stop_after` ends the process
    in the update after that one."""
    model = bert() if model is None else model
    split = rows(kind=kind) if split is None else split
    stage = Stage(name="main", methods=methods, **{**STAGE, **stage_options})
    chain = Chain(stage.methods)
    evaluation = rows(9, seed=5)
    data = TaskData(train=split, evaluation={"validation": evaluation}, source="custom")
    torch.manual_seed(seed)
    setting = Building(
        stage=stage.name,
        head=HEADS[kind],
        seed=seed,
        student=dims(model),
        teacher=dims(teacher) if teacher is not None else None,
        methods=stage.methods,
        text_columns=("text_a",),
        teacher_model=teacher,
        tokenizer=words(),
        data=data,
        encode=encode,
    )
    chain.check(setting)  # as a run does before it looks at a row
    data = chain.data(data, setting)
    split, clock = data.train, stage.clock(len(data.train))
    setting = replace(setting, data=data, clock=clock)
    chain.check(setting)
    model = chain.prepare(model, setting)
    setting = replace(setting, student=dims(model))
    needs = chain.required()
    if source is None and any(need.startswith("teacher.") for need in needs):
        if "teacher.scores" in needs:
            use_scores(teacher)
        source = Live(teacher, needs, HEADS[kind])
    objective = Objective(
        model,
        chain,
        chain.modules(setting),
        head=HEADS[kind],
        teachers={"teacher": source} if source else None,
        autocast=AUTOCAST[precision],
    )
    made: list[Rig] = []
    progress = Progress(
        log=lambda values, step: made[0].log(values, step), warn=lambda text: made[0].warnings.append(text)
    )
    judge = (lambda m: score(m, evaluation)) if evaluate == "score" else evaluate
    trainer = Trainer(
        objective,
        split,
        Plan(stage, clock, seed=seed, precision=precision),
        Saving(folder, signature, seconds=0, steps=checkpoint_steps),
        judge=Judge(judge, "likelihood") if judge else None,
        pad_id=PAD,
        progress=replace(progress, every=log_every),
    )
    made.append(Rig(model, chain, setting, trainer, teacher, stop_after=stop_after))
    return made[0]


def equal(one: Mapping[str, torch.Tensor], two: Mapping[str, torch.Tensor]) -> bool:
    """Bit for bit."""
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def copy(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in weights.items()}


def building(*facts: Any, **options: Any) -> Building:
    """`Building` with nothing at hand but what is given."""
    return Building(*facts, **{"data": TaskData(None, {}, "custom"), "tokenizer": None, "encode": None, **options})


def tiny_tokenizer() -> Any:
    """A BERT tokenizer of 130 or so tokens: some words, and every letter and digit as a word and as a word piece."""
    from transformers import BertTokenizerFast  # type: ignore[attr-defined]

    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    return BertTokenizerFast(vocab=vocabulary, do_lower_case=True, model_max_length=512)
