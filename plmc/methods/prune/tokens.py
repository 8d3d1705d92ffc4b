"""A tokenizer with fewer tokens that still splits text made of the kept ones exactly as before."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from plmc.errors import ConfigError

_KINDS = ("WordPiece", "BPE", "WordLevel")


def closed(tokenizer: Any, ids: Iterable[int], *, characters: bool = True) -> list[int]:
    """`ids` and what else the tokenizer needs, ascending.

    Special and added tokens; with `characters` every token of a single character, so that any word still splits into
    known pieces (byte-level BPE always keeps its 256); for BPE the tokens from which merges build the kept ones. Raises
    ConfigError for a tokenizer that is neither WordPiece nor BPE.
    """
    state = _state(tokenizer)
    model, vocabulary = state["model"], state["model"]["vocab"]
    tokens = {number: token for token, number in vocabulary.items()}
    kept = {number for number in ids if number in tokens}
    kept |= {added["id"] for added in state["added_tokens"]} | set(tokenizer.all_special_ids)
    if characters or model["type"] == "BPE":
        kept |= {number for token, number in vocabulary.items() if len(_bare(token, model)) == 1}
    if model["type"] == "BPE":
        ranks = {pair: rank for rank, pair in enumerate(_merges(model))}
        for number in list(kept):
            kept |= {vocabulary[token] for token in _steps(tokens.get(number, ""), ranks, model) if token in vocabulary}
    return sorted(kept)


def trimmed(tokenizer: Any, kept: list[int]) -> Any:
    """A fresh tokenizer of the tokens `kept` (closed, ascending), numbered from 0 in that order.

    WordPiece takes the longest match and BPE the first of its merges that applies; neither choice changes where all
    that was chosen is still there. Raises ConfigError for a tokenizer that is neither.
    """
    from transformers import AutoTokenizer

    state = _state(tokenizer)
    place = {old: new for new, old in enumerate(kept)}
    model = state["model"]
    model["vocab"] = {token: place[number] for token, number in model["vocab"].items() if number in place}
    if model["type"] == "BPE":
        known = model["vocab"]
        model["merges"] = [[a, b] for a, b in _merges(model) if a in known and b in known and a + b in known]
    for added in state["added_tokens"]:
        added["id"] = place[added["id"]]
    _renumber(state["post_processor"], place)
    # Both say how the tokenizer was called last.
    state["truncation"] = state["padding"] = None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer.save_pretrained(folder)
        # Other forms of the vocabulary would contradict this one.
        for other in ("vocab.txt", "vocab.json", "merges.txt", "added_tokens.json"):
            (folder / other).unlink(missing_ok=True)
        (folder / "tokenizer.json").write_text(json.dumps(state, ensure_ascii=False), encoding="utf-8")
        made = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    made.name_or_path = tokenizer.name_or_path
    made.init_kwargs["name_or_path"] = tokenizer.name_or_path
    return made


def _state(tokenizer: Any) -> dict[str, Any]:
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    model = state["model"]
    if (
        model["type"] not in _KINDS
        or model.get("byte_fallback")
        or (model["type"] == "BPE" and model.get("continuing_subword_prefix"))
    ):
        raise ConfigError(
            f"a {model['type']} tokenizer as that of {tokenizer.name_or_path or type(tokenizer).__name__} cannot be "
            "trimmed, only WordPiece (BERT, DistilBERT, ELECTRA) and byte-level BPE (RoBERTa). Remove "
            "~methods.vocab_trim"
        )
    return state


def _bare(token: str, model: Mapping[str, Any]) -> str:
    prefix, suffix = model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or ""
    bare = token.removeprefix(prefix) if len(token) > len(prefix) else token
    return bare.removesuffix(suffix) if len(bare) > len(suffix) else bare


def _merges(model: Mapping[str, Any]) -> list[tuple[str, str]]:
    # Older files write a pair as one string.
    pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
    return [(first, second) for first, second in pairs]


def _steps(token: str, ranks: Mapping[tuple[str, str], int], model: Mapping[str, Any]) -> set[str]:
    """All tokens on the way from single characters to `token`."""
    bare = _bare(token, model)
    parts = list(bare)
    if parts and bare != token:
        parts[-1] += token[len(bare) :]
    met = set(parts)
    while len(parts) > 1:
        rank, at = min(
            (ranks.get((a, b), len(ranks)), i) for i, (a, b) in enumerate(zip(parts, parts[1:], strict=False))
        )
        if rank == len(ranks):
            break
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
        met.add(parts[at])
    # A token that merges do not lead to is never made.
    return met if len(parts) == 1 else set()


def _renumber(node: Any, place: Mapping[int, int]) -> None:
    """Token ids of a post-processor: `ids` of templates, `[token, id]` of the BERT and RoBERTa kinds."""
    if isinstance(node, list):
        for child in node:
            _renumber(child, place)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "ids":
                node[key] = [place[number] for number in value]
            elif key in ("sep", "cls"):
                node[key] = [value[0], place[value[1]]]
            else:
                _renumber(value, place)
