"""The trained part of a model in a folder of its own: what its base does not have, and the base's name and digest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from plmc import digests
from plmc.errors import ConfigError, DamagedFile
from plmc.files import replacing, write_record
from plmc.models import encoder
from plmc.models.edits.record import edited
from plmc.models.reading import PART, quiet, readable
from plmc.models.spec import ModelSpec

FACTS, WEIGHTS = PART, "part.safetensors"
Where = Callable[[str], str]
"""From a model's name to the folder of its files, weights included."""


def write(folder: Path, model: Any, base: ModelSpec, where: Where) -> None:
    """Writes what `model` has and its encoder `base` (a whole model or some of its layers) has not.

    `part.json` has the base's name, the digest of its weights, and the model's config; `part.safetensors` the tensors.
    """
    before = _encoder(base, where)
    own = {name: value for name, value in model.state_dict().items() if not _same(value, before.get(name))}
    config = model.config.to_dict()
    facts = {
        "base": base.name,
        "digest": _digest(where(base.name)),
        "layers": base.layers,
        "pick": base.pick,
        "architecture": type(model).__name__,
        "config": config,
    }
    with replacing(folder) as draft:
        draft.mkdir()
        save_file({name: value.contiguous().clone() for name, value in own.items()}, draft / WEIGHTS, {"format": "pt"})
        write_record(draft / FACTS, facts | {"weights": digests.of_file(draft / WEIGHTS)})


def built(folder: Path, where: Where) -> Any:
    """The whole model, in evaluation mode.

    Raises ConfigError if its base is not found or is another one than that it was trained on, DamagedFile if the files
    are not what was written.
    """
    import transformers

    facts = _facts(folder)
    spec = ModelSpec(name=facts["base"], layers=facts["layers"], pick=facts["pick"])
    try:
        found = _digest(where(spec.name))
    except ConfigError as error:
        raise ConfigError(f"{folder} belongs to the model {spec.name}, which is not found: {error}") from error
    if found != facts["digest"]:
        raise ConfigError(
            f"{folder} belongs to the model {spec.name} as it was when this part of it was trained, and its weights "
            "are others now. Use the whole model of the run in place of the part."
        )
    own = load_file(folder / WEIGHTS)
    kind = facts["config"].pop("model_type")
    config = transformers.AutoConfig.for_model(kind, **facts["config"])
    model = edited(getattr(transformers, facts["architecture"]), config)(config)
    wanted = model.state_dict()
    state = {name: value for name, value in (_encoder(spec, where) | own).items() if name in wanted}
    if lacking := sorted(wanted.keys() - state.keys()):
        raise DamagedFile(f"{folder}: neither it nor its base {spec.name} has {lacking[0]}.")
    model.load_state_dict(state)
    return model.eval()


def whole(folder: Path, where: Where) -> Path:
    """A folder with the whole model, which every command reads; made once, next to the Hub's cache."""
    from huggingface_hub.constants import HF_HOME
    from transformers import AutoTokenizer

    key = hashlib.sha256("".join(digests.of_file(folder / name) for name in (FACTS, WEIGHTS)).encode()).hexdigest()
    target = Path(HF_HOME) / "plmc" / key[:24]
    facts = _facts(folder)
    if not (target / "config.json").is_file() or _digest(where(facts["base"])) != facts["digest"]:
        model = built(folder, where)
        tokenizer = AutoTokenizer.from_pretrained(where(facts["base"]), trust_remote_code=False)
        os.makedirs(target.parent, exist_ok=True)
        with replacing(target) as draft, quiet():
            model.save_pretrained(draft)
            tokenizer.save_pretrained(draft)
    return target


def _facts(folder: Path) -> dict[str, Any]:
    found = digests.read(folder / FACTS)
    if text := digests.differs(folder, {WEIGHTS: found["weights"]}):
        raise DamagedFile(f"{text} Use the whole model of the run.")
    return found


def _encoder(spec: ModelSpec, where: Where) -> dict[str, Tensor]:
    """The tensors of a base's encoder by the names that they have below a task's head."""
    from transformers import AutoConfig, AutoModel

    folder = where(spec.name)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    with torch.random.fork_rng(devices=[]), quiet(), readable(spec.name):
        model, report = edited(AutoModel, config).from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            trust_remote_code=False,
        )
    drawn = set(report["missing_keys"])  # a pooler that the files do not have
    if (kept := spec.kept(encoder.dims(config).layers)) is not None:
        encoder.set_layers(model, kept)
    prefix = getattr(model, "base_model_prefix", "")
    return {f"{prefix}.{name}": value for name, value in model.state_dict().items() if name not in drawn}


def _same(one: Tensor, other: Tensor | None) -> bool:
    return other is not None and one.shape == other.shape and torch.equal(one, other)


def _digest(folder: str) -> str:
    """16 hex digits of a model's weights."""
    found = hashlib.sha256()
    for path in sorted(Path(folder).glob("*.safetensors")):
        found.update(digests.of_file(path).encode())
    return found.hexdigest()[:16]
