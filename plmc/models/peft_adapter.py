"""Adapters in the files of the library PEFT, merged into the model that they were trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from plmc.errors import ConfigError
from plmc.models.load import ADAPTER, load_tokenizer, quiet, readable, with_weights

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
    import torch

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
