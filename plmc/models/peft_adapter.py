"""Adapters in the files of the library PEFT: written, and merged into the model that they were trained on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from plmc.errors import ConfigError
from plmc.files import write_json
from plmc.models.load import ADAPTER, load_tokenizer, with_weights
from plmc.models.reading import quiet, readable

WEIGHTS = "adapter_model.safetensors"
CLASSES = {"SEQ_CLS": "AutoModelForSequenceClassification", "QUESTION_ANS": "AutoModelForQuestionAnswering"}
"""Classes of transformers by PEFT's names of tasks."""


def merged(folder: Path) -> tuple[Any, Any]:
    """The plain model that the adapter in `folder` and its base make, in float32, and its tokenizer.

    Raises ConfigError without the package peft, for weights in a pickle, for a kind of adapter that cannot be merged
    (prompts, prefixes) or of a task that plmc does not know, and if the base is not found.
    """
    try:
        import peft
    except ImportError as error:
        raise ConfigError(
            f"{folder} is an adapter of PEFT; to merge it: pip install 'plmc[peft]', then the same command."
        ) from error
    if not (folder / WEIGHTS).is_file():
        raise ConfigError(f"{folder} has no {WEIGHTS}. Save the adapter with safetensors first.")
    config = json.loads((folder / ADAPTER).read_text(encoding="utf-8"))
    name = str(config.get("base_model_name_or_path") or "")
    with quiet(), readable(str(folder)):
        base = _kind(str(config.get("task_type"))).from_pretrained(
            with_weights(name),
            dtype=torch.float32,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            trust_remote_code=False,
            **_labels(folder),
        )
        wrapped: Any = peft.PeftModel.from_pretrained(base, str(folder))
    if not hasattr(wrapped.base_model, "merge_and_unload"):
        raise ConfigError(f"{folder}: an adapter of the kind {config.get('peft_type')} cannot be merged into a model.")
    return wrapped.merge_and_unload(), load_tokenizer(name)


def write(
    folder: Path, tensors: Mapping[str, Tensor], *, base: str, inside: str, suffix: str, settings: Mapping[str, Any]
) -> None:
    """Writes a LoRA adapter of a task's model; nothing for a model that PEFT has no name for.

    Args:
        tensors: by their names in the model: `….lora_A` `(r, D_in)`, `….lora_B` `(D_out, r)`, and the head's.
        base: name of the model that it belongs to.
        inside: prefix of the encoder's names.
        suffix: of the model's class, `ForSequenceClassification`.
        settings: `r`, `lora_alpha`, `lora_dropout`.
    """
    task = next((task for task, name in CLASSES.items() if name.endswith(suffix) and suffix), None)
    if task is None:
        return
    targets = sorted(name.removesuffix(".lora_A") for name in tensors if name.endswith(".lora_A"))
    config = {
        "peft_type": "LORA",
        "task_type": task,
        "base_model_name_or_path": base,
        "target_modules": targets,
        "modules_to_save": sorted({name.partition(".")[0] for name in tensors if not name.startswith(inside)}),
        "bias": "none",
        "inference_mode": True,
        **settings,
    }
    named = {
        f"base_model.model.{name}{'.weight' * name.endswith(('.lora_A', '.lora_B'))}": tensor.contiguous()
        for name, tensor in tensors.items()
    }
    save_file(named, folder / WEIGHTS, {"format": "pt"})
    write_json(folder / ADAPTER, config)


def makes(folder: Path, base: nn.Module, final: nn.Module) -> bool:
    """Whether the adapter in `folder` turns the weights of `base` into those of `final`, but for rounding."""
    stored = {name.removeprefix("base_model.model."): tensor for name, tensor in load_file(folder / WEIGHTS).items()}
    config = json.loads((folder / ADAPTER).read_text(encoding="utf-8"))
    before, after = base.state_dict(), final.state_dict()
    if before.keys() != after.keys():
        return False
    for name in config["target_modules"]:
        product = stored[f"{name}.lora_B.weight"] @ stored[f"{name}.lora_A.weight"]
        before[f"{name}.weight"] = before[f"{name}.weight"] + product * (config["lora_alpha"] / config["r"])
    before |= {name: tensor for name, tensor in stored.items() if "lora_" not in name}
    return all(
        before[name].shape == value.shape and torch.allclose(before[name], value, atol=1e-5)
        for name, value in after.items()
    )


def _kind(task: str) -> Any:
    import transformers

    if task not in CLASSES:
        raise ConfigError(f"an adapter for the task {task} cannot be used; plmc knows {', '.join(CLASSES)}.")
    return getattr(transformers, CLASSES[task])


def _labels(folder: Path) -> dict[str, int]:
    """The number of classes, by the rows of the head's last matrix; nothing where the head is not in the file."""
    from safetensors import safe_open

    with safe_open(str(folder / WEIGHTS), "pt") as file:
        for name in file.keys():  # noqa: SIM118 (no mapping)
            if name.endswith(("classifier.weight", "classifier.out_proj.weight", "score.weight")):
                return {"num_labels": file.get_slice(name).get_shape()[0]}
    return {}
