"""The part of an example that differs between formats: OpenVINO."""


def open_model(folder):
    """A function from inputs by name, int64 (batch, tokens), to a list of logits."""
    import openvino

    compiled = openvino.Core().compile_model(str(folder / "model.xml"), "CPU", {"PERFORMANCE_HINT": "LATENCY"})

    def run(inputs):
        found = compiled(inputs)
        return [found[port] for port in compiled.outputs]

    return run
