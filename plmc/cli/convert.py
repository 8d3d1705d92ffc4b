"""`plmc convert`: a model with pickled weights, or an adapter of PEFT, to a folder with safetensors."""

from __future__ import annotations

import shutil
from pathlib import Path

from plmc.errors import ConfigError


def convert(name: str, folder: Path) -> None:
    """Writes config, tokenizer and weights of `name` to `folder`: a Hub id or a folder with `pytorch_model.bin`, of
    which no code is run, or a folder with an adapter of PEFT, which is merged into its base."""
    import torch
    from safetensors.torch import save_file

    from plmc.files import replacing
    from plmc.models import load, part
    from plmc.models.load import is_adapter
    from plmc.models.peft_adapter import merged

    if folder.exists():
        raise ConfigError(f"{folder} is there already. Name a new folder.")
    if is_adapter(Path(name).expanduser()):
        model, tokenizer = merged(Path(name).expanduser())
        with replacing(folder) as target:
            model.save_pretrained(target)
            tokenizer.save_pretrained(target)
        return print(folder)
    if (Path(name).expanduser() / part.FACTS).is_file():
        shutil.copytree(load.locate(name), folder)
        return print(folder)
    source, files = _fetched(name)
    state: dict[str, torch.Tensor] = {}
    for file in files:
        try:
            # Tensors and plain containers only: code in the file is refused, not run.
            state |= torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # damaged and malicious files raise what they like
            raise ConfigError(f"{file} is no plain file of weights: {str(error).splitlines()[0]}") from error
    # Old files name LayerNorm's parameters gamma and beta.
    names = {key: key.replace(".gamma", ".weight").replace(".beta", ".bias") for key in state}
    with replacing(folder) as target:
        target.mkdir(parents=True, exist_ok=True)
        for path in source.iterdir():
            if path.suffix in (".json", ".txt", ".model", ".jinja") and ".index." not in path.name:
                shutil.copyfile(path, target / path.name)
        save_file(
            {names[key]: value.clone() for key, value in state.items()}, target / "model.safetensors", {"format": "pt"}
        )
    print(folder)


def _fetched(name: str) -> tuple[Path, list[Path]]:
    from plmc.data import snapshots

    source = Path(name).expanduser()
    if not source.is_dir():
        repository, _ = snapshots.split_revision(name)
        source = snapshots.snapshot(name)
        from huggingface_hub import snapshot_download

        try:
            snapshot_download(repository, revision=source.name, allow_patterns=["pytorch_model*.bin"])
        except Exception as error:  # the client lets the errors of several libraries through
            raise snapshots.explained(error, f"model {repository}", repository) from error
    files = sorted(source.glob("pytorch_model*.bin"))
    if not files or not (source / "config.json").is_file():
        raise ConfigError(f"{name} has no config.json and pytorch_model.bin to convert.")
    return source, files
