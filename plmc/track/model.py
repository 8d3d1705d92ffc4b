"""The final model as an MLflow model: a folder that `mlflow.pyfunc` and `mlflow.transformers` load.

The folder is written here rather than by `mlflow.transformers.save_model`, which copies the weights twice and asks the
Hub for a licence, and which cannot describe a checkpoint on disk to transformers 5. Weights are hard links.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from plmc.errors import ConfigError

if TYPE_CHECKING:
    from plmc.heads.base import Head

SERVER = "plmc.run.serve"
"""Answers where transformers alone cannot build the model."""
_PACKAGES = ("mlflow", "torch", "transformers", "safetensors", "pandas")


def build_model(
    checkpoint: Path, folder: Path, *, head: Head, example: Mapping[str, str] | str, max_length: int = 512
) -> None:
    """Writes `folder`, an MLflow model of the Hugging Face `checkpoint` (config, safetensors weights, tokenizer files).

    Args:
        example: one input: a text, `{"text": …, "text_pair": …}`, or `{"question": …, "context": …}` for spans; its
            shape decides the signature. `max_length` in tokens cuts longer texts.

    Raises:
        ConfigError: if `checkpoint` has no `config.json`, no weights or no tokenizer.
    """
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types.schema import ColSpec, Schema

    config = _read_config(checkpoint)
    inputs, outputs = head.columns(isinstance(example, Mapping))
    names = [name for name in inputs if name is not None]
    if isinstance(example, Mapping) and sorted(example) != sorted(names):
        raise ConfigError(f"the example of a {head.kind} model has {sorted(example)}; it needs {names}.")

    link_tree(checkpoint, folder / "model")
    link_tree(checkpoint, folder / "components" / "tokenizer", only=_loads_tokenizer)
    if head.mlflow_config:
        write_new(folder / "model" / "config.json", json.dumps({**config, **head.mlflow_config}, indent=2))

    described = Model(
        signature=ModelSignature(
            inputs=Schema([ColSpec("string", name) for name in inputs]),
            outputs=Schema([ColSpec(kind, name) for name, kind in outputs]),
        ),
        model_size_bytes=sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
    )
    edited = bool((config.get("plmc") or {}).get("edits"))
    if edited:
        # The library would load it without its edits, and nobody would notice.
        columns = {"columns": [name for name, _ in outputs]}
        pyfunc.add_to_model(described, loader_module=SERVER, model_config=columns, python_env="python_env.yaml")
        described.save(str(folder / "MLmodel"))
        _write_environment(folder, "plmc")
        return write_new(folder / "example.json", json.dumps(example, indent=2, ensure_ascii=False))
    described.add_flavor(
        "transformers",
        transformers_version=version("transformers"),
        task=head.pipeline,
        instance_type=head.mlflow_pipeline,
        pipeline_model_type=config["architectures"][0],
        source_model_name=config.get("_name_or_path") or config["architectures"][0],
        model_binary="model",
        components=["tokenizer"],
        tokenizer_type="AutoTokenizer",
        torch_dtype=config.get("dtype") or config.get("torch_dtype"),
        code=None,
    )
    loader: dict[str, Any] = {"loader_module": "mlflow.transformers"}
    options: dict[str, Any] = {"truncation": True, "max_length": max_length}
    if head.mlflow_code:
        (folder / "code").mkdir()
        shutil.copyfile(head.mlflow_code, folder / "code" / head.mlflow_code.name)
        loader, options = {"loader_module": head.mlflow_code.stem, "code": "code"}, {"max_length": max_length}
    pyfunc.add_to_model(described, **loader, model_config=options, python_env="python_env.yaml")
    described.save(str(folder / "MLmodel"))
    _write_environment(folder)
    write_new(folder / "example.json", json.dumps(example, indent=2, ensure_ascii=False))


def link_tree(source: Path, target: Path, only=lambda name: True) -> None:
    """Copies a folder without doubling its weights: hard links where the file system has them."""

    def link(origin: str, copy: str) -> str:
        try:
            os.link(origin, copy)
        except OSError:
            shutil.copy2(origin, copy)
        return copy

    def unwanted(folder: str, names: Sequence[str]) -> list[str]:
        return [name for name in names if not only(name)]

    shutil.copytree(source, target, copy_function=link, ignore=unwanted)


def write_new(path: Path, text: str) -> None:
    """Writes a new file: the one that it was a link to keeps its content."""
    path.unlink(missing_ok=True)
    path.write_text(text, encoding="utf-8")


def _is_tokenizer(name: str) -> bool:
    return "token" in name or name.startswith(("vocab.", "merges.", "spiece", "sentencepiece", "spm."))


def _loads_tokenizer(name: str) -> bool:
    # AutoTokenizer falls back on the model's config where the tokenizer's own does not name its class.
    return _is_tokenizer(name) or name == "config.json"


def _read_config(checkpoint: Path) -> dict[str, Any]:
    names = [file.name for file in checkpoint.iterdir()] if checkpoint.is_dir() else []
    missing = [
        what
        for what, found in (
            ("config.json", "config.json" in names),
            ("weights (*.safetensors)", any(name.endswith(".safetensors") for name in names)),
            ("tokenizer files", any(_is_tokenizer(name) for name in names)),
        )
        if not found
    ]
    if missing:
        raise ConfigError(
            f"{checkpoint} is not a Hugging Face model: it has no {', no '.join(missing)}. "
            f"Save model and tokenizer there with save_pretrained first."
        )
    return json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))


def _write_environment(folder: Path, *further: str) -> None:
    pins = []
    for package in (*_PACKAGES, *further):
        try:
            # The local part (+cpu, +cu128) names a build that package indexes do not carry.
            pins.append(f"{package}=={version(package).partition('+')[0]}")
        except PackageNotFoundError:
            continue
    write_new(folder / "requirements.txt", "\n".join(pins) + "\n")
    environment = {
        "python": platform.python_version(),
        "build_dependencies": ["pip"],
        "dependencies": ["-r requirements.txt"],
    }
    write_new(folder / "python_env.yaml", yaml.safe_dump(environment, sort_keys=False))
