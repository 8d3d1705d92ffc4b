"""What a finished model costs: parameters, zeros, bytes on disk, milliseconds a row, memory."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from plmc.errors import PlmcError
from plmc.measure.turns import turns

if TYPE_CHECKING:
    from plmc.core.rows import Split

WEIGHT_FILES = ("model*.safetensors", "pytorch_model*.bin", "*.onnx", "*.onnx.data")


def parameters(model: nn.Module) -> int:
    """Number of parameters; tied weights count once. Weights packed to integers are buffers and do not count."""
    return sum(param.numel() for param in model.parameters())


def nonzero_parameters(model: nn.Module) -> int:
    """Number of parameters that are not exactly zero; tied weights count once."""
    return sum(int(torch.count_nonzero(param)) for param in model.parameters())


def sparsity(model: nn.Module) -> float:
    """Share of exact zeros, 0 to 1, over the weight matrices of the Linear layers inside the encoder's blocks.

    The convention of the BERT pruning papers: embeddings, pooler, task head, biases and layer norms do not count, so
    that "90 % sparse" means the same for every task and vocabulary. Tied matrices count once.
    Raises PlmcError if the model has no blocks (a `ModuleList`) with Linear layers.
    """
    encoder = getattr(model, "base_model", model)
    blocks = (module for module in encoder.modules() if isinstance(module, nn.ModuleList))
    linears = (module for block in blocks for module in block.modules() if isinstance(module, nn.Linear))
    matrices = {id(layer.weight): layer.weight for layer in linears}.values()
    if not matrices:
        raise PlmcError(
            f"{type(model).__name__} has no encoder blocks with Linear layers, so it has no sparsity to report. "
            "Measure the student before its layers are converted."
        )
    zeros = sum(matrix.numel() - int(torch.count_nonzero(matrix)) for matrix in matrices)
    return zeros / sum(matrix.numel() for matrix in matrices)


def size_bytes(folder: Path) -> int:
    """Bytes of the weight files in a saved model's folder (all shards). Raises PlmcError if there are none."""
    # A folder may hold the same weights twice, as .safetensors and as .bin; only one of them is ever loaded.
    for kind in (WEIGHT_FILES[:1], WEIGHT_FILES[1:2], WEIGHT_FILES[2:]):
        files = {path for pattern in kind for path in Path(folder).glob(pattern)}
        if files:
            return sum(path.stat().st_size for path in files)
    raise PlmcError(f"{folder} holds no weights ({', '.join(WEIGHT_FILES)}). Point to a folder of save_pretrained.")


def figures(model: nn.Module, folder: Path) -> dict[str, Any]:
    """Parameters, non-zero parameters, bytes of the weight files in `folder`, and sparsity."""
    return {
        "parameters": parameters(model),
        "nonzero_parameters": nonzero_parameters(model),
        "size_bytes": size_bytes(folder),
        "sparsity": sparsity(model),
    }


@dataclass(frozen=True)
class Timing:
    """Milliseconds for one row: median and quartiles over `calls` calls, with the threads and device they ran on."""

    median_ms: float
    lower_ms: float
    upper_ms: float
    calls: int
    threads: int
    device: str

    def __str__(self) -> str:
        where = f"{self.threads} thread{'s' * (self.threads != 1)}" if self.device == "cpu" else self.device
        return f"{self.median_ms:.2f} ms [{self.lower_ms:.2f}, {self.upper_ms:.2f}] ({where})"


def single_rows(split: Split, count: int = 32, seed: int = 0) -> list[dict[str, Tensor]]:
    """`count` random rows of a split as batches of one, unpadded: each tensor is `(1, T)` with the row's own T."""
    picked = np.random.default_rng(seed).permutation(len(split))[:count]
    batches = []
    for row in picked:
        columns = {name: np.array(ragged[row], dtype=np.int64) for name, ragged in split.columns.items()}
        batch = {name: torch.from_numpy(values)[None] for name, values in columns.items()}
        batches.append(batch | {"attention_mask": torch.ones_like(batch["input_ids"])})
    return batches


def latency(
    models: Mapping[str, nn.Module | Callable[[Mapping[str, Tensor]], Any]],
    batches: Sequence[Mapping[str, Tensor]],
    *,
    rounds: int = 5,
    warmup: int = 3,
    threads: int = 1,
    budget: float = 30.0,
    device: str = "cpu",
) -> dict[str, Timing]:
    """Median forward time of each contender over the same rows, in milliseconds.

    Contenders take turns on every row (see `plmc.measure.turns`). The quartiles mix noise with the rows' real lengths.
    `batches` are batches of one (see `single_rows`). A module runs in eval mode on `device`, is given the inputs that
    its forward names, and is put back afterwards; a plain callable is given the whole batch. One thread by default:
    more of them wait for each other whenever the machine has other work. Timing stops after `rounds` passes over the
    rows, or with the pass that reaches `budget` seconds.
    Raises PlmcError without contenders or rows.
    """
    if not models or not batches:
        raise PlmcError("Latency needs at least one model and one row to run it on.")
    placed = [{name: tensor.to(device) for name, tensor in batch.items()} for batch in batches]
    taken: dict[str, list[float]] = {name: [] for name in models}
    with _quiet(models.values(), threads, device), torch.inference_mode():
        calls = {name: _call(model) for name, model in models.items()}
        for call in calls.values():
            for batch in placed[:warmup]:
                call(batch)
        names = list(calls)
        for _, i, who in turns(len(names), len(placed), rounds, seconds=budget):
            taken[names[who]].append(_timed(calls[names[who]], placed[i], device))
    return {name: _timing(values, threads, device) for name, values in taken.items()}


def _call(model: nn.Module | Callable) -> Callable[[Mapping[str, Tensor]], Any]:
    if not isinstance(model, nn.Module):
        return model
    # Teacher and student may differ in what they take: DistilBERT knows no token types.
    known = set(signature(model.forward).parameters)
    return lambda batch: model(**{name: tensor for name, tensor in batch.items() if name in known})


def _timed(call: Callable, batch: Mapping[str, Tensor], device: str) -> float:
    if device != "cpu":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    call(batch)
    if device != "cpu":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - start) * 1e3


def _timing(values: list[float], threads: int, device: str) -> Timing:
    lower, median, upper = np.percentile(values, [25, 50, 75])
    return Timing(float(median), float(lower), float(upper), len(values), threads, device)


@contextmanager
def _quiet(models: Iterable[Any], threads: int, device: str) -> Iterator[None]:
    """Fixed threads, modules on the device in eval mode; all is as before afterwards."""
    before = torch.get_num_threads()
    modules = [model for model in models if isinstance(model, nn.Module)]
    training = [model for model in modules if model.training]
    homes = [next((param.device for param in model.parameters()), torch.device("cpu")) for model in modules]
    try:
        torch.set_num_threads(threads)
        for model in modules:
            model.eval().to(device)
        yield
    finally:
        torch.set_num_threads(before)
        for model, home in zip(modules, homes, strict=True):
            model.to(home)
        for model in training:
            model.train()


def peak_memory_bytes(device: str = "cpu") -> int:
    """High-water mark of this process: resident memory on `cpu`, else memory allocated on that CUDA device."""
    if device != "cpu":
        return int(torch.cuda.max_memory_allocated(device))
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def machine() -> dict[str, Any]:
    """Where a figure was measured: `cpu`, `cores`, `threads` (of torch), `memory_bytes`, `gpus`, `os`, versions."""
    import psutil
    import transformers

    return {
        "cpu": cpu_name(),
        "cores": psutil.cpu_count(logical=False) or os.cpu_count(),
        "logical_cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "os": f"{platform.system()} {platform.machine()}",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def cpu_name() -> str:
    """Model name of the processor, as the operating system gives it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
