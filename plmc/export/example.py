"""The Python example that each export carries: one file that answers texts and needs neither plmc nor training
libraries."""

from __future__ import annotations

from pathlib import Path

from plmc.config.schemes import Plan
from plmc.heads.base import Head

_EXAMPLES = Path(__file__).parent / "examples"
_BEGIN, _END = "# --- how the model runs\n", "# --- end\n"


def write_example(folder: Path, head: Head, plan: Plan) -> str:
    """Writes the example of models with `head` into an export's folder; returns its name.

    The examples run ONNX; for another format the part between the marks is that of `examples/run_FORMAT.py`.
    """
    name = str(head.example_file)
    text = (_EXAMPLES / name).read_text(encoding="utf-8")
    if plan.format != "onnx":
        before, _, rest = text.partition(_BEGIN)
        after = rest.partition(_END)[2]
        run = (_EXAMPLES / f"run_{plan.format}.py").read_text(encoding="utf-8").partition(_BEGIN)[2]
        text = before + _BEGIN + run.partition(_END)[0] + _END + after
        packages = {"openvino": "openvino", "torch": "torch transformers"}[plan.format]
        text = text.replace("onnxruntime", packages + " torchao" * ("torchao" in plan.packages), 1)
    (folder / name).write_text(text, encoding="utf-8")
    return name
