"""An adapter that somebody trained with PEFT becomes a plain model that every verb takes."""

import json
import sys

import pytest
import torch
from commands import SMALL, plmc
from transformers import AutoModelForSequenceClassification

from plmc.testing.stage import tiny_tokenizer


@pytest.fixture
def base(tmp_path):
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    sizes = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48)
    model = BertForSequenceClassification(BertConfig(vocab_size=len(tiny_tokenizer()), **sizes))
    model.save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def adapter(base, folder, labels=2, config=None):
    """Trained elsewhere: random products and a random head."""
    from peft import LoraConfig, get_peft_model

    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=labels, ignore_mismatched_sizes=True)
    config = config or LoraConfig(task_type="SEQ_CLS", r=4, lora_alpha=8, target_modules=["query", "value"])
    wrapped = get_peft_model(model, config).eval()
    generator = torch.Generator().manual_seed(1)
    for param in (param for param in wrapped.parameters() if param.requires_grad):
        torch.nn.init.normal_(param, std=0.3, generator=generator)
    wrapped.save_pretrained(folder)
    return wrapped


def said(model):
    with torch.no_grad():
        return model(input_ids=torch.tensor([[5, 6, 7, 8]])).logits


@pytest.mark.parametrize("labels", [2, 5])
def test_the_merged_model_answers_as_the_adapter_does(base, tmp_path, labels):
    theirs = adapter(base, tmp_path / "adapter", labels)
    ended = plmc("convert", tmp_path / "adapter", tmp_path / "merged")
    assert ended.code == 0, ended.text
    found = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged").eval()
    torch.testing.assert_close(said(found), said(theirs), atol=1e-5, rtol=1e-5)
    plain = AutoModelForSequenceClassification.from_pretrained(base, num_labels=labels, ignore_mismatched_sizes=True)
    assert (said(found) - said(plain.eval())).abs().max() > 1e-2
    assert not [name for name in found.state_dict() if "lora" in name]


def test_every_verb_takes_the_merged_model(base, tmp_path):
    adapter(base, tmp_path / "adapter")
    assert plmc("convert", tmp_path / "adapter", tmp_path / "merged").code == 0
    judged = plmc("evaluate", tmp_path / "merged", "task=rte", "data=embedded", "data.validation_rows=16")
    assert judged.code == 0, judged.text
    names = ("student=base", f"student.name={base}", f"teacher.name={base}", f"output_dir={tmp_path}")
    ended = plmc("train", *SMALL, "recipe=kd", "task=rte", f"teacher.checkpoint={tmp_path / 'merged'}", *names)
    assert ended.code == 0, ended.text


def test_an_adapter_where_a_model_is_wanted_is_named_with_the_cure(base, tmp_path):
    adapter(base, tmp_path / "adapter")
    ended = plmc("evaluate", tmp_path / "adapter", "task=rte", "data=embedded")
    assert ended.code == 2 and f"Merge them first: plmc convert {tmp_path / 'adapter'}" in ended.message


def test_what_cannot_be_merged_is_refused(base, tmp_path, monkeypatch):
    from peft import PromptTuningConfig

    adapter(base, tmp_path / "prompts", config=PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=3))
    ended = plmc("convert", tmp_path / "prompts", tmp_path / "merged")
    assert ended.code == 2 and "PROMPT_TUNING cannot be merged" in ended.message, ended.text

    adapter(base, tmp_path / "adapter")
    config = tmp_path / "adapter" / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "task_type": "CAUSAL_LM"}))
    ended = plmc("convert", tmp_path / "adapter", tmp_path / "merged")
    assert ended.code == 2 and "for the task CAUSAL_LM" in ended.message

    (tmp_path / "adapter" / "adapter_model.safetensors").rename(tmp_path / "adapter" / "adapter_model.bin")
    ended = plmc("convert", tmp_path / "adapter", tmp_path / "merged")
    assert ended.code == 2 and "Save the adapter with safetensors" in ended.message

    monkeypatch.setitem(sys.modules, "peft", None)
    ended = plmc("convert", tmp_path / "prompts", tmp_path / "merged")
    assert ended.code == 2 and "pip install 'plmc[peft]'" in ended.message and not (tmp_path / "merged").exists()


def test_an_adapter_whose_base_is_gone_says_so(base, tmp_path):
    adapter(base, tmp_path / "adapter")
    base.rename(tmp_path / "moved")
    ended = plmc("convert", tmp_path / "adapter", tmp_path / "merged")
    assert ended.code == 2 and str(base) in ended.message and "no such folder" in ended.message


def trained(base, tmp_path, *words):
    names = ("student=base", f"student.name={base}", f"teacher.name={base}", f"output_dir={tmp_path / 'runs'}")
    ended = plmc("train", *SMALL, "recipe=lora", "task=rte", "budget.lr=1e-2", *names, *words)
    assert ended.code == 0, ended.text
    (run,) = (tmp_path / "runs").glob("*-rte-*")
    return run


@pytest.mark.parametrize("words", [(), ("methods.lora.targets=all", "methods.lora.rank=3")], ids=["plain", "all"])
def test_a_run_leaves_its_adapter_as_peft_reads_it(base, tmp_path, words):
    from peft import AutoPeftModelForSequenceClassification

    run = trained(base, tmp_path, *words)
    ours = AutoModelForSequenceClassification.from_pretrained(run / "model").eval()
    theirs = AutoPeftModelForSequenceClassification.from_pretrained(run / "adapter").eval()
    torch.testing.assert_close(said(theirs), said(ours), atol=1e-5, rtol=1e-5)
    plain = AutoModelForSequenceClassification.from_pretrained(base).eval()
    assert (said(ours) - said(plain)).abs().max() > 1e-3
    small, whole = (sum(f.stat().st_size for f in (run / part).glob("*.safetensors")) for part in ("adapter", "model"))
    assert small < whole / 2
    assert plmc("convert", run / "adapter", tmp_path / "merged").code == 0
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged").eval()
    torch.testing.assert_close(said(again), said(ours), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "words",
    [("student.layers=1",), ("method=[bitfit]", "methods.bitfit.head=false")],
    ids=["fewer layers", "biases, too"],
)
def test_no_adapter_is_left_where_it_and_the_base_are_not_all(base, tmp_path, words):
    """In the files of PEFT; what differs from the base may be left in those of plmc, if it is less than half of it."""
    run = trained(base, tmp_path, *words)
    assert (run / "model").is_dir() and not (run / "adapter" / "adapter_config.json").exists()
    if (run / "adapter").exists():
        own, whole = run / "adapter" / "part.safetensors", run / "model" / "model.safetensors"
        assert own.stat().st_size < 0.5 * whole.stat().st_size


def test_a_run_that_trains_everything_leaves_none(base, tmp_path):
    run = trained(base, tmp_path, "recipe=finetune")
    assert not (run / "adapter").exists() and not list(run.glob(".adapter*"))
