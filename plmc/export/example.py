"""The Python example that each export carries: one file that answers texts and needs neither plmc nor training
libraries."""

from __future__ import annotations

from pathlib import Path

from plmc.config.schemes import Plan
from plmc.heads.base import Head

_EXAMPLES = Path(__file__).parent / "examples"
_RUN = "from run_onnx import open_model  # noqa: E402, I001\n"
_PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino", "torch": "torch transformers"}


def write_example(folder: Path, head: Head, plan: Plan) -> str:
    """Writes the example of models with `head` into an export's folder; returns its name.

    The function of `examples/run_FORMAT.py` stands in it in place of an import.
    """
    name = str(head.example_file)
    run = (_EXAMPLES / f"run_{plan.format}.py").read_text(encoding="utf-8")
    text = (_EXAMPLES / name).read_text(encoding="utf-8").replace(_RUN, "\n" + run[run.index("def open_model") :])
    packages = _PACKAGES[plan.format] + " torchao" * ("torchao" in plan.packages)
    (folder / name).write_text(text.replace("onnxruntime", packages, 1), encoding="utf-8")
    return name
