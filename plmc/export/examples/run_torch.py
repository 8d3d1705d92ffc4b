"""The part of an example that differs between formats: torch."""


def open_model(folder):
    """A function from inputs by name, int64 (batch, tokens), to a list of logits."""
    import torch
    from transformers import AutoConfig, AutoModelForQuestionAnswering, AutoModelForSequenceClassification

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    reader = any("QuestionAnswering" in name for name in config.architectures)
    kind = AutoModelForQuestionAnswering if reader else AutoModelForSequenceClassification
    model = kind.from_pretrained(folder, dtype="auto", trust_remote_code=False).eval()

    def run(inputs):
        with torch.inference_mode():
            output = model(**{name: torch.from_numpy(array) for name, array in inputs.items()})
        heads = (output.start_logits, output.end_logits) if reader else (output.logits,)
        return [head.float().numpy() for head in heads]

    return run
