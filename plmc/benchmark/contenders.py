"""Who runs against whom: models from the names that were typed, each with the run that it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from plmc import digests
from plmc.config.moved import current
from plmc.config.trust import check_config
from plmc.errors import ConfigError, DamagedFile, PlmcError
from plmc.results.record import FILE, of_folder

EXPORTS = "export"
"""Folder of a run that holds its exports."""


@dataclass(frozen=True)
class Contender:
    """One line of the benchmark.

    Attributes:
        path: what `open_model` takes.
        model: the folder with weights and tokenizer.
        run: the folder of the plmc run that it comes from, None for others.
        config: of that run.
        precision: `fp32` or `bf16` for torch.
        label: what runs it, such as `onnx int8`.
        base: the run's label or the folder's name.
        facts: `plmc_export.json`, empty for what is no export.
        name: unique in a benchmark.
    """

    path: Path
    model: Path
    run: Path | None
    config: dict[str, Any] | None
    precision: str
    label: str
    base: str
    facts: dict[str, Any]
    name: str = ""

    @property
    def task(self) -> str | None:
        """Name of its task, None where nothing says it."""
        return self.config["task"]["name"] if self.config else self.facts.get("task")

    @property
    def key(self) -> str:
        """The name of this model inside its run: `torch_fp32`, `torch_bf16`, or the export's folder."""
        in_run = self.run and EXPORTS in self.model.relative_to(self.run).parts
        if in_run and self.precision == "fp32":
            return self.model.name
        return f"{self.model.name if in_run or not self.run else 'torch'}_{self.precision}"

    @property
    def is_torch(self) -> bool:
        """Whether torch runs it, and hence in either precision."""
        return self.label.startswith("torch")


def find(
    names: Sequence[str],
    outputs: Path,
    *,
    bf16: bool = True,
    exports: bool = False,
    device: str = "cpu",
    allow: Sequence[str] = (),
) -> list[Contender]:
    """The contenders in the order of `names`, the bf16 variant of each torch model right behind it.

    Raises ConfigError for a name that is no model, and if the tasks differ.

    Args:
        names: runs (signature, its beginning, folder), exports, folders of save_pretrained, .onnx files.
        exports: with all exports of the runs named.
    """
    if not names:
        raise ConfigError("plmc bench needs at least one model: a run, an export, a model folder or an .onnx file.")
    paths: list[Path] = []
    for name in names:
        path = _locate(name, outputs, allow)
        inner = (
            sorted(f.parent for f in path.glob(f"{EXPORTS}/*/plmc_export.json")) if exports and path.is_dir() else []
        )
        paths += [p for p in (path, *inner) if p not in paths]
    found = []
    for path in paths:
        first = _read(path, allow)
        found.append(first)
        if bf16 and first.is_torch and first.label.endswith("fp32"):
            found.append(replace(first, precision="bf16", label="torch bf16"))
    tasks = {contender.task: str(contender.path) for contender in found if contender.task}
    if len(tasks) > 1:
        told = ", ".join(f"{task} ({path})" for task, path in tasks.items())
        raise ConfigError(f"the models belong to different tasks: {told}. Bench one task at a time.")
    if device == "cuda":
        found = [contender for contender in found if not contender.label.startswith("openvino")]
    return _named(found)


def _locate(name: str, outputs: Path, allow: Sequence[str]) -> Path:
    path = Path(name).expanduser()
    if path.exists():
        return path.resolve()
    from plmc.results.pick import pick

    picked = pick(name, outputs, allow)
    return (picked.folder or picked.model).resolve()


def _read(path: Path, allow: Sequence[str]) -> Contender:
    from plmc.export.runtime import label, model_file

    file = model_file(path)
    model = file.parent
    run = next((folder for folder in (model, *list(model.parents)[:2]) if (folder / "config.yaml").is_file()), None)
    config = record = None
    facts: dict[str, Any] = {}
    try:
        if run:
            config = current(digests.read_config(run))
            check_config(config, str(run / "config.yaml"), allow)
            record = of_folder(run) if (run / FILE).is_file() else None
        facts = _json(model / "plmc_export.json")
        if text := digests.differs(model, facts.get(digests.FILES) or {}):
            raise DamagedFile(text)
    except (OSError, DamagedFile) as error:
        raise DamagedFile(f"{path} cannot be read: {str(error).splitlines()[0]} Make it again.") from error
    base = record.title if record else (run or model).name
    return Contender(path, model, run, config, "fp32", label(file, facts), base, facts)


def _json(path: Path) -> dict[str, Any]:
    return digests.read(path) if path.is_file() else {}


def _named(found: Sequence[Contender]) -> list[Contender]:
    """Unique names: the run's label and what runs it, then the run's folder too, then a number."""
    spellings: list[Callable[[Contender], str]] = [
        lambda c: f"{c.base} {c.label}",
        lambda c: f"{c.run.name if c.run else c.base} {c.label}",
        lambda c: f"{c.run.name if c.run else c.base} {c.model.name} {c.label}",
    ]
    names = [spellings[0](c) for c in found]
    for spelling in spellings[1:]:
        names = [spelling(c) if names.count(name) > 1 else name for c, name in zip(found, names, strict=True)]
    numbered = [
        f"{name} #{names[: i + 1].count(name)}" if names.count(name) > 1 else name for i, name in enumerate(names)
    ]
    return [replace(c, name=name) for c, name in zip(found, numbered, strict=True)]


def opened(contender: Contender, *, threads: int, device: str) -> Any:
    """The contender's `Runtime`. Raises ConfigError that names the contender if nothing can run it."""
    from plmc.export.runtime import open_model

    try:
        return open_model(contender.path, threads=threads, device=device, precision=contender.precision)
    except PlmcError:
        raise
    except Exception as error:  # every runtime raises other errors for a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"{contender.path} cannot be opened: {reason}. Export it again.") from error
