"""What cannot work is refused before anything is trained, in one message that says what to type instead."""

import socket
import time

import pytest
from commands import plmc

from plmc.data import reach


def refused(ended, code: int, *parts: str) -> None:
    """One message with these parts, this exit code, no traceback, nothing trained."""
    assert ended.code == code, ended.text
    assert ended.text.count("error ") == 1 and "Traceback" not in ended.text and "fault of plmc" not in ended.text
    assert "updates of" not in ended.text
    for part in parts:
        assert part in ended.message


BERT = "teacher.name={bert}"
CASES = {
    "recipe": ("recipe=tinybrt", "there is no such recipe. Did you mean tinybert?"),
    "recipe unlike any": ("recipe=xyzzy", "There are: adapter, bitfit, delta_sam, distilbert"),
    "method": ("method=[gpm]", "there is no such method. Did you mean gmp?"),
    "task": ("task=rtee", "Did you mean rte?"),
    "student": ("student=hlaf", "Did you mean half?"),
    "preset": ("preset=offlin", "Did you mean offline?"),
    "group": ("reciep=kd", "reciep: there is no such key. Did you mean recipe?"),
    "key": ("budget.epoch=1", "budget.epoch: there is no such key. Did you mean epochs?"),
    "new key": ("+foo=1", "foo: there is no such key"),
    "new nested key": ("+budget.foo=1", "budget.foo: Budget has no such field"),
    "field of a method": (
        "method=[gmp] methods.gmp.finl=0.5",
        "methods.gmp.finl: GMP has no such field. Did you mean final?",
    ),
    "new field of a method": ("method=[gmp] +methods.gmp.finl=0.5", "GMP has no such field. Did you mean final?"),
    "method that is not there": ("methods.gmp.final=0.5", "gmp is not part of this run. Add it: method=[gmp]"),
    "recipe taken away": (
        "~recipe",
        "recipe is missing: ~recipe takes away what every run has. Choose an option: recipe=kd",
    ),
    "task taken away": ("~task", "task is missing"),
    "a number for settings": ("train=3", "train=3 is no mapping of settings. Set its fields, such as train.lr=5e-5"),
    "hydra's folder": ("hydra.run.dir=/proc/x/y", "hydra.run.dir: runs go to output_dir=DIR"),
    "no such launcher": ("hydra/launcher=jobli", "there is no such hydra/launcher"),
    "field of a stage": ("recipe=kd recipe.stages.distl.lr=1", "recipe.stages has no key distl. Did you mean distil?"),
    "new field of a stage": ("recipe=kd +recipe.stages.distil.lrr=1", "Stage has no such field. Did you mean lr?"),
    "no option": ("task=null", "task=null: name an option"),
    "several values": ("recipe=finetune,kd", "a sweep, which needs -m: plmc train -m"),
    "no value": ("recipe.kd", "'recipe.kd' cannot be read. Settings are written key=value"),
    "open bracket": ("method=[gmp", "cannot be read"),
    "option": ("--epochs 3", "no option --epochs. Settings are written key=value"),
    "option misspelt": ("--mutlirun", "Did you mean --multirun?"),
    "seed": ("seed=-1", "seed=-1 must be a whole number"),
    "precision": ("precision=fp64", "must be auto, fp32, bf16 or fp16"),
    "word for a number": ("train.lr=abc", "train.lr=abc must be a number"),
    "word for a whole number": ("budget.steps=many", "budget.steps=many must be a whole number"),
    "zero rows": ("train.batch_size=0", "batch_size=0 must be a whole number greater than 0"),
    "schedule": ("train.schedule=sawtooth", "train.schedule=sawtooth must be linear, cosine"),
    "moment": ("method=gmp methods.gmp.begin=early", "'early' is not a moment in training. Write 30%"),
    "sparsity": ("method=gmp methods.gmp.final=1.5", "a sparsity is at least 0 and below 1"),
    "metric": ("task.metric=bleu", "sst2 is measured by accuracy"),
    "no teacher for kd": ("recipe=kd teacher=none student=base student.name={bert}", "but there is none"),
    "no teacher for half": ("teacher=none", "no teacher to take the student's layers from; name the student"),
    "layers": ("student.layers=9", "has 4 layers; use 1 to 4, half, or a list"),
    "layer list": ("student.layers=[0,7]", "use distinct numbers from 0 to 3"),
    "layer map": (
        "recipe=tinybert student.layers=3",
        "do not divide by 3 student layers Use a student of 1, 2, 4 layers",
    ),
    "averagers": ("recipe=swa +method@recipe.stages.finetune.methods.more=swa", "both want the role 'average'"),
    "hype in bf16": ("recipe=hype precision=bf16", "hype does not work in bf16 Use precision=fp32"),
    "swa before gmp": ("recipe=kd method=[gmp,swa] methods.swa.begin=30%", "Set methods.swa.begin=70%"),
    "heads": ("student=scratch student.shape.width=50", "width 50 is not a multiple of 12 heads"),
    "no loss": ("recipe=finetune ~recipe.stages.finetune.methods.task", "has no methods, so nothing would be trained"),
    "folder": ("student=base student.name=./nowhere", "./nowhere: no such folder. Give a model folder, a Hub id"),
    "folder without model": ("student=base student.name=empty", "holds no model (no config.json)"),
    "import path": (
        "recipe=kd recipe.stages.distil.methods.kd._target_=plmc.nope.KD",
        "plmc.nope.KD cannot be imported",
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("verb", ["train", "validate"])
def test_wrong_words_are_refused(name, verb, small, zoo, tmp_path):
    words, message = CASES[name]
    if verb == "validate" and words.startswith("--") or verb == "validate" and name == "several values":
        pytest.skip("train's own")
    (tmp_path / "empty").mkdir()
    base = [word for word in small if not ("teacher=none" in words and word.startswith("teacher.name"))]
    parts = message.split(" Use ") if name in ("layer map", "hype in bf16") else [message]
    refused(plmc(verb, *base, *words.format(**zoo).split()), 2, *parts)
    assert not (tmp_path / "outputs").exists()


def test_cfg_names_the_right_recipe_too():
    refused(plmc("train", "--cfg", "job", "recipe=kdd"), 2, "there is no such recipe. Did you mean kd?")


def test_a_wrong_name_in_the_last_job_stops_the_sweep_before_the_first(small, tmp_path):
    refused(plmc("train", "-m", *small, "recipe=finetune,kdd", "seed=1,2"), 2, "recipe=kdd: there is no such recipe")
    assert not list(tmp_path.glob("outputs/finetune-*"))


@pytest.mark.parametrize(
    "words, message",
    [
        (("ls", "recips"), "Did you mean recipes?"),
        (("ls", "runs"), "outputs holds no runs"),
        (("evaluate", "nope"), "nope: no such folder or run. outputs holds no finished run"),
        (("predict", "nope", "text"), "nope: no such folder or run"),
        (("compare",), "no finished run in outputs"),
        (("ui",), "no run was tracked here yet"),
        (("show", "-m", "recipe=kd,finetune"), "-m is not understood here"),
        (("validate", "--quick"), "--quick is not understood here"),
        (("predict", "nope"), "give either a text"),
    ],
)
def test_the_other_verbs_refuse_as_clearly(words, message):
    refused(plmc(*words), 2, message)


def test_a_file_in_the_way_of_the_outputs_is_named(small, tmp_path):
    (tmp_path / "taken").write_text("")
    ended = plmc("train", *small, "recipe=finetune", "output_dir=taken")
    assert ended.code == 2 and f"output_dir={tmp_path / 'taken'} is a file" in ended.message
    assert "fault of plmc" not in ended.text and "Traceback" not in ended.text


@pytest.fixture
def silent_hub(monkeypatch):
    """A Hub that takes connections and never answers."""
    import datasets
    import huggingface_hub.constants

    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(reach, "_known", {})
    monkeypatch.setenv("PLMC_HUB_TIMEOUT", "2")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield


@pytest.mark.parametrize("words", [["teacher=bert-base", "data=embedded"], ["teacher.name={bert}", "data=hub"]])
def test_a_hub_that_does_not_answer_is_given_up_within_seconds(words, silent_hub, zoo):
    import transformers  # noqa: F401  importing is not waiting

    words = ["tracking=off", "task=rte", *(word.format(**zoo) for word in words)]
    plmc("validate", *words)
    reach._known.clear()
    start = time.perf_counter()
    ended = plmc("train", *words)
    seconds = time.perf_counter() - start
    refused(ended, 4, "did not answer within 2 s", "Three ways out")
    # Two seconds of waiting; the rest is what a busy machine may need.
    assert seconds < 6


def test_a_sweep_of_several_processes_is_refused(small, monkeypatch):
    monkeypatch.setattr("plmc.run.jobs.started", lambda: 2)
    ended = plmc("train", "-m", *small, "recipe=finetune", "task=rte", "seed=1,2")
    assert ended.code == 2 and "a sweep starts its jobs itself" in ended.message
