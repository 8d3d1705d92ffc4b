"""The part of an example that differs between formats: ONNX Runtime."""

import json


def open_model(folder):
    """A function from inputs by name, int64 (batch, tokens), to a list of logits."""
    import onnxruntime

    facts = json.loads((folder / "plmc_export.json").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(
        str(folder / "model.onnx"),
        providers=["CPUExecutionProvider"],
        disabled_optimizers=facts["disabled_optimizers"] or None,
    )
    return lambda inputs: session.run(None, inputs)
