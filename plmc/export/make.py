"""One export from start to verified folder; a folder with the final name is always complete."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plmc import digests
from plmc.config.schemes import NONE, Plan
from plmc.console import Console
from plmc.errors import ConfigError, DamagedFile, ExportError
from plmc.export import compact, verify
from plmc.export.example import write_example
from plmc.export.extras import check, need
from plmc.export.runtime import DESCRIPTION, INPUTS, open_model
from plmc.export.source import Source, check_family, load_model
from plmc.files import replacing, write_json, write_record
from plmc.measure import figures
from plmc.measure.software import versions
from plmc.models import encoder
from plmc.models.edits.record import edits
from plmc.models.load import load_config, load_tokenizer
from plmc.training.evaluate import logits_of

CALIBRATION_ROWS = 128
WEIGHTS = {"onnx": ("model.onnx",), "openvino": ("model.xml", "model.bin"), "torch": ("model.safetensors",)}
COMPACT = "weights" + compact.SUFFIX
# Below this share of zeros the compact file says nothing that the model file does not.
_SPARSE = 0.1


def make(
    source: Source, plan: Plan, out: Path, *, console: Console, max_drop: float = 1.0, force: bool = False
) -> dict[str, Any]:
    """Exports `source` as `plan` says to the folder `out`, verified; returns the content of its `plmc_export.json`.

    An export that is there already and follows from the same weights, rows and plan is kept as it is, unless `force`.
    It is written under another name and renamed at the end, so a killed export leaves nothing and the same call
    starts again.
    Raises ExportError if the task's first metric falls by more than `max_drop` points, unless `force`: then nothing is
    left either. Raises ConfigError for an architecture or task that cannot be exported, and for a folder that holds
    other things.
    """
    if max_drop < 0:
        raise ConfigError(f"--max-drop {max_drop:g}: use 0 or more points.")
    if source.task.head.example_file is None:
        raise ConfigError(
            f"only task models can be exported, this is one for {source.task.head.kind}: fine-tune it first."
        )
    if plan.format == "torch" and (made := edits(load_config(str(source.folder)))):
        raise ConfigError(
            f"this model has {made[0]['name']}, which transformers alone cannot build, so a program without plmc would "
            "answer with another model. Use --to onnx or --to openvino."
        )
    check(plan.packages)
    known = _known(out)
    key = f"{source.digest()}-{plan.name}"
    if known and (wrong := digests.fault(out)):
        console.warn(f"{wrong} It is exported again.")
        known = {key: value for key, value in known.items() if key == "step"}
    if known and known.get("key") == key and not force:
        console.say(f"[green]exported before[/], nothing to do (--force makes it again)  {out}")
        return accepted(known, max_drop)
    with replacing(out) as draft:
        draft.mkdir(parents=True)
        console.say(f"{plan.name}: writing the model")
        facts, model, tensors = _write(source, plan, draft)
        facts["key"], facts["step"] = key, known.get("step", -1) + 1 if known else 0
        # The runtime reads its session's options from it.
        write_json(draft / DESCRIPTION, facts)
        feeds = [_fed(feed, facts["inputs"]) for feed in verify.single_feeds(source.evaluation, 12)]
        if plan.format == "onnx":
            from plmc.export.session import faster_options

            facts["disabled_optimizers"], facts["session_ms"] = faster_options(draft / "model.onnx", feeds)
            write_json(draft / DESCRIPTION, facts)
        facts |= _verified(source, plan, draft, model, console)
        facts |= _sizes(draft, plan, model, tensors)
        facts["verification"]["max_drop"] = max_drop
        if not force:
            accepted(facts, max_drop)
            if text := doubtful(facts, max_drop):
                console.warn(text)
        facts["example"] = write_example(draft, source.task.head, plan)
        facts[digests.FILES] = digests.of_files(draft, ("*.*",))
        facts[digests.FILES].pop(DESCRIPTION, None)
        write_record(draft / DESCRIPTION, facts)
    return facts


def accepted(facts: Mapping[str, Any], max_drop: float) -> dict[str, Any]:
    """`facts` again. Raises ExportError if the metric fell by more than `max_drop` points, beyond the noise of the
    rows."""
    checked = facts["verification"]
    if _fell(checked, max_drop) and checked["interval"][1] < 0:
        low, high = checked["interval"]
        raise ExportError(
            f"{facts['format']} {facts['quantize']}: {checked['metric']} falls from {checked['before']:.4f} to "
            f"{checked['after']:.4f}, {-checked['change']:.2f} points (95 % interval {-high:.2f} to {-low:.2f}), more "
            f"than the {max_drop:g} allowed. Allow it with --max-drop {-checked['change'] + 0.1:.1f} or --force, or "
            "take a finer scheme: weights8, bf16, or int8 after quantization-aware training."
        )
    return dict(facts)


def doubtful(facts: Mapping[str, Any], max_drop: float) -> str:
    """What to say of a metric that fell by more than `max_drop` points on too few rows to be sure; empty otherwise."""
    checked = facts["verification"]
    low, high = checked["interval"]
    if not _fell(checked, max_drop) or high < 0:
        return ""
    return (
        f"{facts['format']} {facts['quantize']}: {checked['metric']} falls by {-checked['change']:.2f} points on "
        f"{checked['rows']} rows, 95 % interval {-high:.2f} to {-low:.2f}: that may be "
        "noise. Verify on more rows before you rely on it."
    )


def _fell(checked: Mapping[str, Any], max_drop: float) -> bool:
    # Differences of fractions carry rounding that no one means by points.
    return -checked["change"] > max_drop + 1e-6


def _known(out: Path) -> dict[str, Any]:
    """What an earlier export into `out` says. Raises ConfigError for a folder of something else: it would be
    replaced."""
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / DESCRIPTION).is_file()):
        raise ConfigError(f"--out {out} is there already and is no export of plmc. Name a new folder.")
    if not (out / DESCRIPTION).is_file():
        return {}
    try:
        return digests.read(out / DESCRIPTION)
    except DamagedFile:  # `make` says so and exports again
        return {"step": 0}


def _write(source: Source, plan: Plan, folder: Path) -> tuple[dict[str, Any], Any, dict[str, torch.Tensor]]:
    """The model and tokenizer files; returns what is known so far, the torch model, and the stored tensors by name."""
    model = load_model(source.folder)
    check_family(model.config)
    tokenizer = load_tokenizer(str(source.folder))
    tokenizer.save_pretrained(folder)
    taken = signature(model.forward).parameters
    names = [name for name in INPUTS if name in taken and name in (*tokenizer.model_input_names, "attention_mask")]
    facts = {
        "format": plan.format,
        "quantize": plan.scheme,
        "task": source.task.name,
        "kind": source.task.head.kind,
        "labels": list(source.task.labels),
        "texts": len(source.task.text),
        "max_length": source.task.max_length,
        "inputs": names,
        "pad_id": source.pad_id,
        "reading": source.task.reading,
        "disabled_optimizers": [],
        "source": {
            "run": str(source.run) if source.run else None,
            "model": str(source.folder),
            "signature": source.signature,
        },
        "architecture": model.config.model_type,
    }
    rows = []
    if plan.calibrated and source.train is not None:
        rows = [_fed(feed, names) for feed in verify.single_feeds(source.train, CALIBRATION_ROWS)]
        facts["calibration_rows"] = len(rows)
    if plan.format == "torch":
        if plan.scheme == "bf16":
            load_model(source.folder).to(torch.bfloat16).save_pretrained(folder)
        elif plan.scheme != NONE:
            from plmc.export.torch_int8 import quantized

            made: Any = quantized(type(model), source.folder, plan.scheme)
            made.save_pretrained(folder)
        else:
            model.save_pretrained(folder)
        from safetensors.torch import load_file

        return facts, model, load_file(folder / "model.safetensors")
    from plmc.export.onnx import to_onnx

    proto = to_onnx(model, names)
    if plan.format == "openvino":
        from plmc.export.openvino import constants, to_openvino

        return facts, model, constants(to_openvino(proto, plan.scheme, rows, folder))
    from plmc.export.quantize import kept_float, quantize

    proto = quantize(proto, plan.scheme, rows, encoder.record(model.config).get("quantization"))
    facts["float_operators"] = kept_float(proto)
    onnx = need("onnx")
    onnx.save(proto, folder / "model.onnx")
    # Copies: the arrays lie read-only in the file's own buffers.
    tensors = {t.name: torch.from_numpy(onnx.numpy_helper.to_array(t).copy()) for t in proto.graph.initializer}
    return facts, model, tensors


def _fed(feed: Mapping[str, np.ndarray], names: list[str]) -> dict[str, np.ndarray]:
    return {name: feed[name] for name in names}


def _verified(source: Source, plan: Plan, folder: Path, model: Any, console: Console) -> dict[str, Any]:
    task, split, pad = source.task, source.evaluation, source.pad_id
    console.say(f"verifying on {len(split)} rows")
    before = logits_of(model, split, task.head, pad_id=pad, progress=console.each)
    # All threads for the rows, one for the clock.
    runtime = open_model(folder, threads=torch.get_num_threads())
    after = verify.outputs(runtime, split, task.head, pad_id=pad, progress=console.each)
    checked = verify.quality(task, split, before, after) | verify.fidelity(before, after)
    speed = verify.latency(open_model(folder, threads=1), model, split)
    packages = {name: need(name).__version__ for name in plan.packages}
    return {"verification": checked, "latency": speed, "machine": figures.machine(), "versions": versions() | packages}


def _sizes(folder: Path, plan: Plan, model: Any, tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Bytes on disk and in compact form, and of the same model in dense float32."""
    dense, sparsity = sum(4 * p.numel() for p in model.parameters()), figures.sparsity(model)
    size = sum((folder / name).stat().st_size for name in WEIGHTS[plan.format])
    sparse = sparsity >= _SPARSE
    packed = compact.write_compact(tensors, folder / COMPACT) if sparse else compact.compact_size(tensors)
    matrices = {f"{name}.weight": layer.weight for name, layer in encoder.pruned_linears(model).items()}
    # Equal matrices share one tensor in ONNX, and OpenVINO has other names: then no share is given.
    named = all(compact.belonging(name, tensors) for name in matrices)
    return {
        "parameters": figures.parameters(model),
        "nonzero_parameters": figures.nonzero_parameters(model),
        "sparsity": sparsity,
        "size_bytes": size,
        "compact_bytes": packed,
        "dense_fp32_bytes": dense,
        "compact_file": COMPACT if sparse else None,
        "compression_ratio": dense / packed,
        "encoder_compression_ratio": compact.encoder_ratio(matrices, tensors) if named else None,
    }
