"""A model from disk as one function from token ids to logits, for torch, ONNX Runtime and OpenVINO."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from plmc import digests
from plmc.errors import ConfigError, DataError
from plmc.export.extras import need

DESCRIPTION = "plmc_export.json"
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
KINDS = {".onnx": "onnx", ".xml": "openvino", ".json": "torch"}
"""What runs a model, by the ending of its `model_file`."""
Feed = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Runtime:
    """A model ready to run.

    Attributes:
        label: what a table calls it, such as `onnx int8`.
        input_names: what the model takes, of `INPUTS`.
        facts: the content of `plmc_export.json`; empty for what plmc did not export.
    """

    path: Path
    label: str
    input_names: tuple[str, ...]
    call: Callable[[dict[str, np.ndarray]], Sequence[Any]] = field(repr=False)
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def run(self, inputs: Feed) -> tuple[np.ndarray, ...]:
        """Logits in float32: `(B, C)`, or start and end of `(B, T)` each for question answering.

        Raises DataError if one that it does take is missing.

        Args:
            inputs: int64 arrays `(B, T)` by name; those that the model does not take are ignored.
        """
        missing = [name for name in self.input_names if name not in inputs]
        if missing:
            raise DataError(f"{self.path} takes {', '.join(self.input_names)}; {missing[0]} was not given.")
        outputs = self.call({name: inputs[name] for name in self.input_names})
        return tuple(np.asarray(output, dtype=np.float32) for output in outputs)


def open_model(path: Path, *, threads: int, device: str = "cpu", precision: str = "fp32") -> Runtime:
    """The model in `path`: an export folder, a run's folder, a folder of `save_pretrained`, or an .onnx or .xml file.

    Raises ConfigError if nothing in `path` can be run so.

    Args:
        threads: CPU threads of one call.
        device: `cpu` or `cuda`.
        precision: `fp32` or `bf16`, in which torch and OpenVINO compute; an ONNX file has its own.
    """
    path = Path(path).expanduser()
    if precision not in ("fp32", "bf16"):
        raise ConfigError(f"precision {precision}: use fp32 or bf16.")
    if device not in ("cpu", "cuda"):
        raise ConfigError(f"device {device}: use cpu or cuda.")
    file = model_file(path)
    facts = _facts(file.parent)
    if file.suffix == ".onnx":
        return _onnx(file, facts, threads, device, precision)
    if file.suffix == ".xml":
        return _openvino(file, facts, threads, device, precision)
    return _torch(file, facts, threads, device, precision)


def model_file(path: Path) -> Path:
    """The file that a model is opened by: model.onnx, model.xml (OpenVINO) or config.json (torch), in `path` or in
    `path/model`, or `path` itself. Raises ConfigError if there is none."""
    if path.is_file() and path.suffix in KINDS:
        return path
    for folder in (path, path / "model"):
        for name in ("model.onnx", "model.xml", "config.json"):
            if (folder / name).is_file():
                return folder / name
    there = "" if path.exists() else " (there is no such folder)"
    raise ConfigError(
        f"{path} holds no model{there}: neither model.onnx, model.xml nor config.json. Give a finished run, an export, "
        "a folder of save_pretrained, or an .onnx file."
    )


def _facts(folder: Path) -> dict[str, Any]:
    file = folder / DESCRIPTION
    if not file.is_file():
        return {}
    digests.check(folder)
    return digests.read(file)


def label(file: Path, facts: Mapping[str, Any]) -> str:
    """What tables call the model of a `model_file`: `torch fp32`, `onnx int8`."""
    kind, scheme = KINDS[file.suffix], facts.get("quantize") or "none"
    plain = "fp32" if kind == "torch" else ""
    return " ".join(filter(None, [kind, plain if scheme == "none" else scheme]))


def session_options(threads: int) -> Any:
    """ONNX Runtime's options for one call at a time on `threads` threads."""
    ort = need("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return options


def _onnx(file: Path, facts: Mapping[str, Any], threads: int, device: str, precision: str) -> Runtime:
    ort = need("onnxruntime")
    if precision != "fp32":
        raise ConfigError(f"{file}: precision={precision} is for torch and OpenVINO; an ONNX file fixes its own.")
    provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}[device]
    if provider not in ort.get_available_providers():
        raise ConfigError(f"this onnxruntime has no {provider}. For GPUs: pip install onnxruntime-gpu; or device cpu.")
    session = ort.InferenceSession(
        str(file),
        session_options(threads),
        providers=[provider],
        disabled_optimizers=facts.get("disabled_optimizers") or None,
    )
    names = tuple(value.name for value in session.get_inputs())
    return Runtime(file.parent, label(file, facts), names, lambda feed: session.run(None, feed), facts)


def _openvino(file: Path, facts: Mapping[str, Any], threads: int, device: str, precision: str) -> Runtime:
    openvino = need("openvino")
    if device != "cpu":
        raise ConfigError(f"{file}: OpenVINO runs here on the CPU only; device=cpu.")
    # Left alone, OpenVINO computes in bf16 on every CPU that can.
    hint = {"fp32": "f32", "bf16": "bf16"}[precision]
    options = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(str(file), "CPU", options)
    names = tuple(port.get_any_name() for port in compiled.inputs)
    request = compiled.create_infer_request()

    def call(feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        found = request.infer(feed)
        return [found[port] for port in compiled.outputs]

    name = label(file, facts) + " bf16" * (precision == "bf16")
    return Runtime(file.parent, name, names, call, facts)


def _torch(file: Path, facts: Mapping[str, Any], threads: int, device: str, precision: str) -> Runtime:
    import torch

    from plmc.export.source import load_model

    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device cuda, but torch sees no GPU here. Use device cpu, and `plmc doctor` to see why.")
    kind = torch.bfloat16 if "bf16" in (precision, facts.get("quantize")) else torch.float32
    model = load_model(file.parent).to(device)
    if kind is not torch.float32:
        model = model.to(kind)
    taken = signature(model.forward).parameters
    tokens = _tokenizer_inputs(file.parent)
    names = tuple(name for name in INPUTS if name in taken and (tokens is None or name in tokens))

    def call(feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        before = torch.get_num_threads()
        if device == "cpu" and before != threads:
            torch.set_num_threads(threads)
        try:
            with torch.inference_mode():
                output = model(**{name: torch.from_numpy(array).to(device) for name, array in feed.items()})
                heads = (output.start_logits, output.end_logits) if "start_logits" in output else (output.logits,)
                return [head.float().cpu().numpy() for head in heads]
        finally:
            if device == "cpu" and before != threads:
                torch.set_num_threads(before)

    name = "torch bf16" if kind is torch.bfloat16 else label(file, facts)
    return Runtime(file.parent, name, names, call, facts)


def _tokenizer_inputs(folder: Path) -> Sequence[str] | None:
    """The inputs that the model's tokenizer makes; RoBERTa's makes no token types although the model would take
    them."""
    from plmc.models.load import load_tokenizer

    if not (folder / "tokenizer.json").is_file():
        return None
    return load_tokenizer(str(folder)).model_input_names
