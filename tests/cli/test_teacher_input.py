"""The teacher reads every row as its own tokenizer makes it, whatever columns the student reads."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from commands import SMALL

from plmc.config.compose import compose, plain
from plmc.config.resolve import resolve
from plmc.console import Console
from plmc.core.chain import Chain
from plmc.core.method import Method
from plmc.errors import ConfigError
from plmc.methods.distill.layers_kd import LayersKD
from plmc.methods.distill.logit_kd import LogitKD
from plmc.models import load
from plmc.models.encoder import dims
from plmc.tasks import feeds, rows
from plmc.teachers.make import Trained, key
from plmc.teachers.source import TeacherSource
from plmc.testing.stage import HEADS, building
from plmc.training.batches import training_batches
from plmc.training.evaluate import logits_of

METHODS = {
    "logits": LogitKD,
    "hidden states": lambda: LayersKD(attention=0, map="uniform", projection="never"),
    "scores": lambda: LayersKD(map="uniform", projection="never"),
}


def resolved(zoo, student, teacher, tmp_path, *words):
    names = (f"student.name={zoo[student]}", f"teacher.name={zoo[teacher]}")
    given = (*SMALL, "precision=fp32", "recipe=kd", "student=base", *names)
    return resolve(plain(compose([*given, f"output_dir={tmp_path}", *words])))


def finetuned(run, name, tmp_path):
    """A teacher whose answers hang on which text a token is in."""
    model = load.build(load.ModelSpec(name=str(name)), run.task, seed=7).eval()
    drawn = torch.Generator().manual_seed(1)
    for param in model.parameters():
        if param.ndim == 2:
            torch.nn.init.normal_(param, std=0.3, generator=drawn)
    model.save_pretrained(tmp_path / "teacher")
    load.load_tokenizer(str(name)).save_pretrained(tmp_path / "teacher")
    return Trained("teacher", str(tmp_path / "teacher"), "teacher-1", {}, run.task), model


def asked(run, stage, chain, data, tokenizer, teacher, model):
    """What the stage asks its only teacher with."""
    clock = stage.clock(len(data.train))
    setting = building(
        stage=stage.name,
        head=run.task.head,
        seed=1,
        student=dims(model),
        teacher=dims(model),
        methods=chain.named,
        text_columns=run.task.text,
        data=data,
        clock=clock,
    )
    trained = {key(run, "teacher", run.task): teacher} if teacher else {}
    source = TeacherSource(run, device=torch.device("cpu"), console=Console(), trained=trained)

    def again(own):
        if stage.feeds:
            return feeds.rows(run, stage, own, data)
        return run.task.encode(data.train.raw, own, training=True)

    (says,) = source.outputs(stage, chain, setting, tokenizer, again).values()
    return says


@pytest.mark.parametrize("cache", ["fp32", "null"])
@pytest.mark.parametrize("what", METHODS)
@pytest.mark.parametrize(
    "student, teacher, task",
    [("distilbert", "bert", "rte"), ("bert", "distilbert", "rte"), ("distilbert", "electra", "squad")],
)
def test_the_teacher_agrees_with_itself_on_every_row(zoo, tmp_path, student, teacher, task, what, cache):
    long = ("task.max_length=128", "task.stride=32") if task == "squad" else ()
    run = resolved(zoo, student, teacher, tmp_path, f"task={task}", f"teacher.cache={cache}", *long)
    tokenizer, own = load.load_tokenizer(str(zoo[student])), load.load_tokenizer(str(zoo[teacher]))
    assert own.model_input_names != tokenizer.model_input_names and own.get_vocab() == tokenizer.get_vocab()
    data = rows.load(run, tokenizer)
    given, model = finetuned(run, zoo[teacher], tmp_path)
    stage = replace(run.recipe.stages[0], epochs=1)
    says = asked(run, stage, Chain({"kd": METHODS[what]()}), data, tokenizer, given, model)

    right = run.task.encode(data.train.raw, own, training=True)
    expected = logits_of(model, right, run.task.head, pad_id=own.pad_token_id)
    seen = 0
    batches = training_batches(
        data.train, batch_size=8, micro_batch=3, pad_id=tokenizer.pad_token_id, seed=0, stage=0, start=0
    )
    for _ in range(4):
        for batch in next(batches).parts:
            mask = batch.inputs["attention_mask"].bool()
            for head, found in zip(expected, says(batch).logits, strict=True):
                wanted = torch.from_numpy(head[batch.rows])
                if run.task.head.kind == "span":
                    wanted, found = wanted[:, : mask.shape[1]][mask], found[mask]
                torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
            seen += len(batch.rows)
    assert seen >= 24


class Changes(Method):
    """Would change tokens."""

    def batch(self, batch, rng, clock):
        return replace(batch, inputs={**batch.inputs, "input_ids": batch.inputs["input_ids"].flip(0)})


def test_a_teacher_is_asked_about_the_tokens_that_a_method_changed_not_looked_up(zoo, tmp_path):
    run = resolved(zoo, "bert", "bert", tmp_path, "task=rte", "teacher.cache=fp32")
    tokenizer = load.load_tokenizer(str(zoo["bert"]))
    data = rows.load(run, tokenizer)
    given, model = finetuned(run, zoo["bert"], tmp_path)
    stage = replace(run.recipe.stages[0], epochs=1)
    stream = {"batch_size": 8, "micro_batch": None, "pad_id": 0, "seed": 0, "stage": 0, "start": 0}
    batch = next(training_batches(data.train, **stream)).parts[0]
    changed = Changes().batch(batch, None, None)
    with torch.no_grad():
        expected = model(**changed.inputs).logits
    says = asked(run, stage, Chain({"kd": LogitKD(), "changes": Changes()}), data, tokenizer, given, model)
    torch.testing.assert_close(says(changed).logits[0], expected, rtol=0, atol=1e-5)
    stored = asked(run, stage, Chain({"kd": LogitKD()}), data, tokenizer, given, model)
    assert (stored(changed).logits[0] - expected).abs().max() > 1e-3


def test_changed_tokens_and_a_teacher_with_another_tokenizer_are_refused(zoo, tmp_path):
    run = resolved(zoo, "distilbert", "bert", tmp_path, "task=rte")
    tokenizer = load.load_tokenizer(str(zoo["distilbert"]))
    given, model = finetuned(run, zoo["bert"], tmp_path)
    chain = Chain({"kd": LogitKD(), "changes": Changes()})
    with pytest.raises(ConfigError, match="changes changes the tokens.*Use a teacher whose tokenizer"):
        asked(run, run.recipe.stages[0], chain, rows.load(run, tokenizer), tokenizer, given, model)


def test_the_types_of_a_pair_change_the_answers_that_the_test_compares(zoo, tmp_path):
    run = resolved(zoo, "bert", "bert", tmp_path, "task=rte")
    _, model = finetuned(run, zoo["bert"], tmp_path)
    raw = rows.load(run, load.load_tokenizer(str(zoo["bert"]))).train.raw
    one, two = (
        logits_of(
            model,
            run.task.encode(raw, load.load_tokenizer(str(zoo[name])), training=True),
            HEADS["classification"],
            pad_id=0,
        )[0]
        for name in ("bert", "distilbert")
    )
    assert np.abs(one - two).max() > 1e-2


def test_general_distillation_gives_the_teacher_its_columns(zoo, tmp_path):
    run = resolved(
        zoo,
        "bert",
        "distilbert",
        tmp_path,
        "task=rte",
        "recipe=tinybert_general",
        "recipe.stages.general.feeds.text.corpus=embedded",
        "recipe.stages.general.feeds.text.rows=40",
    )
    stage, tokenizer = run.recipe.stages[0], load.load_tokenizer(str(zoo["bert"]))
    data = rows.load(run, tokenizer)
    data = data.with_train(feeds.rows(run, stage, tokenizer, data))
    _, model = finetuned(run, zoo["distilbert"], tmp_path)
    says = asked(run, stage, Chain(stage.methods), data, tokenizer, None, model)
    batch = next(
        training_batches(data.train, batch_size=8, micro_batch=None, pad_id=0, seed=0, stage=0, start=0)
    ).parts[0]
    assert "token_type_ids" in batch.inputs and len(says(batch).scores) == dims(model).layers


def test_each_family_of_the_zoo_has_its_own_columns(zoo):
    names = {family: load.load_tokenizer(str(folder)).model_input_names for family, folder in zoo.items()}
    assert {family for family in names if "token_type_ids" in names[family]} == {"bert", "electra"}
