"""What the contenders read: the task's real rows in batches of like length, or random tokens of one length."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from plmc.benchmark.contenders import Contender
from plmc.errors import ConfigError

REAL = "real"
FIXED_BATCHES = 8
SEED = 0

Feed = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """One shape to measure: `batch` rows of `length` (`real` or a number of tokens).

    Attributes:
        feeds: for each contender its batches of int64 `(B, T)` by input name; the same rows for all, each split into
            tokens by its own tokenizer.
        lengths: tokens of each row for each contender, without padding.
    """

    batch: int
    length: str
    feeds: tuple[tuple[Feed, ...], ...]
    lengths: tuple[np.ndarray, ...]

    @property
    def rows(self) -> int:
        """Rows of one round."""
        return len(self.lengths[0])

    @property
    def padding(self) -> float:
        """Share of the first contender's tokens that are padding."""
        padded = sum(feed["input_ids"].size for feed in self.feeds[0])
        return 1 - float(self.lengths[0].sum()) / padded


def most_batches(batch: int) -> int:
    """Batches of a round: enough to show the spread of lengths, few enough for many rounds."""
    return max(8, round(64 / batch**0.5))


def tokenizer_of(contender: Contender) -> Any:
    """The tokenizer in the folder of the contender's model; None if there is none."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    if (contender.model / "config.json").is_file() and (contender.model / "tokenizer.json").is_file():
        return AutoTokenizer.from_pretrained(contender.model, trust_remote_code=False)
    if (contender.model / "tokenizer.json").is_file():
        # Which inputs the model takes is the graph's affair, which leaves the others alone.
        names = ["input_ids", "attention_mask", "token_type_ids"]
        if (contender.model / "tokenizer_config.json").is_file():
            return PreTrainedTokenizerFast.from_pretrained(contender.model, model_input_names=names)
        path = str(contender.model / "tokenizer.json")
        return PreTrainedTokenizerFast(tokenizer_file=path, pad_token="[PAD]", model_input_names=names)
    return None


def real_cases(contenders: Sequence[Contender], task: Any, rows: Any, batches: Sequence[int]) -> list[Case]:
    """Cases over the rows of a split (`datasets.Dataset`), sorted by length, evenly thinned to `most_batches`.

    Raises ConfigError if no contender brings a tokenizer, or if tokenizers cut the rows into different numbers of
    pieces.
    """
    splits = _encoded(contenders, task, rows)
    # The first contender's order for all, so that everybody is given the same rows at the same time.
    order = np.argsort(splits[0][0].lengths, kind="stable")
    if any(len(split) != len(order) for split, _ in splits):
        raise ConfigError(
            "the tokenizers of these models cut the rows into different numbers of pieces. Use --length 128 instead of "
            "real."
        )
    cases = []
    for batch in batches:
        if batch > len(order):
            raise ConfigError(f"--batch {batch}: {task.name} has only {len(order)} rows to take it from.")
        whole = order[: len(order) // batch * batch].reshape(-1, batch)
        picked = np.unique(np.linspace(0, len(whole) - 1, min(len(whole), most_batches(batch))).round().astype(int))
        chosen = whole[picked]
        feeds = tuple(tuple(_feed(split, group, pad) for group in chosen) for split, pad in splits)
        cases.append(Case(batch, REAL, feeds, tuple(split.lengths[chosen.ravel()] for split, _ in splits)))
    return cases


def _encoded(contenders: Sequence[Contender], task: Any, rows: Any) -> list[tuple[Any, int]]:
    """Each contender's rows and padding id; tokenised once per tokenizer. Without a tokenizer one gets the first's."""
    from plmc.data.encode import tokenizer_hash

    made: dict[str, tuple[Any, int]] = {}
    found: list[tuple[Any, int] | None] = []
    for contender in contenders:
        tokenizer = tokenizer_of(contender)
        if tokenizer is None:
            found.append(None)
            continue
        key = tokenizer_hash(tokenizer)
        if key not in made:
            made[key] = (task.encode(rows, tokenizer, training=False), tokenizer.pad_token_id or 0)
        found.append(made[key])
    first = next((item for item in found if item), None)
    if first is None:
        raise ConfigError(
            "--length real: none of these models brings a tokenizer. Use --length 128, or name its folder."
        )
    return [item or first for item in found]


def _feed(split: Any, group: np.ndarray, pad: int) -> Feed:
    from plmc.training.batches import collate

    return {name: tensor.numpy() for name, tensor in collate(split, group, pad).inputs.items()}


def fixed_cases(contenders: Sequence[Contender], length: int, batches: Sequence[int]) -> list[Case]:
    """Cases of random ordinary tokens, `length` a row without padding; the same draw for equal vocabularies."""
    for contender in contenders:
        if (longest := _positions(contender)) is not None and length > longest:
            raise ConfigError(f"--length {length}: {contender.name} reads at most {longest} tokens.")
    sizes = [_vocabulary(contender) for contender in contenders]
    known = [size for size in sizes if size]
    # A bare file says nothing about its vocabulary; what the smallest of the others holds, every model of its kind
    # holds.
    least = min(known, default=1000)
    cases = []
    for batch in batches:
        feeds = []
        for size in sizes:
            rng = np.random.default_rng([SEED, batch, length])
            feeds.append(tuple(_random(rng, batch, length, size or least) for _ in range(FIXED_BATCHES)))
        lengths = np.full(FIXED_BATCHES * batch, length)
        cases.append(Case(batch, str(length), tuple(feeds), (lengths,) * len(contenders)))
    return cases


def _positions(contender: Contender) -> int | None:
    """The longest input of a model that says so in its config."""
    path = contender.model / "config.json"
    if not path.is_file():
        return None
    config = json.loads(path.read_text(encoding="utf-8"))
    # RoBERTa and MPNet count their positions from the one after the padding's.
    counted = ("roberta", "xlm-roberta", "camembert", "mpnet")
    offset = config.get("pad_token_id", 0) + 1 if config.get("model_type") in counted else 0
    most = config.get("max_position_embeddings")
    return most - offset if isinstance(most, int) else None


def _vocabulary(contender: Contender) -> int | None:
    tokenizer = tokenizer_of(contender)
    return len(tokenizer) if tokenizer is not None else None


def _random(rng: np.random.Generator, batch: int, length: int, vocabulary: int) -> Feed:
    # The upper half of a vocabulary holds no special tokens in any family.
    ids = rng.integers(vocabulary // 2, vocabulary, size=(batch, length), dtype=np.int64)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def rows_of(contenders: Sequence[Contender], words: Sequence[str]) -> tuple[Any, Any, str]:
    """The task, its validation rows and the source's name, by the first run's config with `words` laid over it.

    Raises ConfigError if neither a contender nor a word names the task.
    """
    from plmc.config.build import build
    from plmc.config.compose import compose, plain
    from plmc.results.pick import Picked, settings

    owner = next((c for c in contenders if c.config), contenders[0])
    named = any(word.startswith("task=") for word in words)
    if owner.config is None and not named:
        task = next((c.task for c in contenders if c.task), None)
        if task is None:
            raise ConfigError(
                "no model here says its task, so --length real needs it: task=sst2 (or use --length 128)."
            )
        words = [f"task={task}", *words]
    config = settings(Picked(owner.model, owner.run, owner.config), words) if owner.config else plain(compose(words))
    task = build(config["task"], "task")
    source = task.own_source or build(config["data"], "data")
    raw = source.load(task)
    name = next((split for split in raw if split.startswith("validation")), None)
    if name is None:
        raise ConfigError(f"task {task.name} has no validation rows here ({', '.join(raw)}). Use --length 128.")
    return task, raw[name], source.name


def save(feed: Feed, path: Path) -> None:
    """A batch as .npz, for another process."""
    np.savez(path, **dict(feed))  # type: ignore[arg-type]
