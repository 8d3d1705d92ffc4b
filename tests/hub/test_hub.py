"""The default path against a Hub: downloads, caches, a Hub that is silent, throttled or closed, and what is refused."""

import json
import time

import pytest
import torch
from commands import SMALL, plmc
from safetensors.torch import load_file
from server import forget

from plmc.data.hub import fetch
from plmc.data.snapshots import snapshot, weights
from plmc.errors import ConfigError, HubUnreachable
from plmc.models import load

BERT = "tiny/bert"
WORDS = (
    *(word for word in SMALL if not word.startswith("data")),
    "task=rte",
    f"teacher.name={BERT}",
    "latency_rows=0",
)


def train(*words):
    ended = plmc("train", *WORDS, *words)
    assert ended.code == 0, ended.text
    return ended


def test_the_default_command_downloads_model_and_rows_and_says_which_commits(hub, tmp_path):
    ended = train("recipe=kd")
    assert "downloading the weights of tiny/bert" in ended.text
    result = json.loads(next(tmp_path.glob("outputs/kd-rte-*/result.json")).read_text())
    assert result["student"]["commit"] == result["teacher"]["commit"] == hub.commit("models", BERT, "main")
    assert result["data_commit"] == hub.commit("datasets", "nyu-mll/glue", "main")
    # Facts of one model are asked for once a process, not once a question.
    facts = [line for line in hub.asked if line.endswith("resolve/main/config.json")]
    assert (
        len([line for line in hub.asked if "/api/models/tiny/bert/revision/main" in line]) <= 1 and len(facts) <= 2
    ), facts


def test_a_silent_hub_leaves_what_is_cached_and_says_so_in_one_line(hub, silence, tmp_path):
    train("recipe=finetune")
    silence()
    started = time.monotonic()
    ended = plmc("validate", *WORDS, "recipe=kd")
    assert ended.code == 0, ended.text
    assert ended.text.count("the Hugging Face Hub does not answer") == 1 and "Retrying" not in ended.text
    forget()
    ended = train("recipe=kd", "seed=2")
    assert "Retrying" not in ended.text
    assert time.monotonic() - started < 40


def test_a_silent_hub_and_an_empty_cache(hub, silence):
    silence()
    ended = plmc("validate", *WORDS, "recipe=kd")
    assert ended.code == 4 and "Three ways out" in ended.text and ended.text.count("error ") == 1


def test_a_model_without_its_weights_is_noticed_before_anything_is_trained(hub, silence, tmp_path):
    fetch("nyu-mll/glue", "rte")
    snapshot(BERT)
    silence()
    ended = plmc("train", *WORDS, "recipe=finetune")
    assert ended.code == 4 and "the weights of model tiny/bert are not on this machine" in ended.message, ended.text
    assert "updates of" not in ended.text


def test_a_text_of_the_hub_comes_from_the_cache_too(hub, silence, tmp_path):
    words = (
        "recipe=tinybert_general",
        "recipe.stages.general.feeds.text.corpus=tiny/text",
        "recipe.stages.general.feeds.text.rows=32",
    )
    train(*words)
    silence()
    ended = train(*words, "seed=2")
    assert "lies on the Hub" not in ended.text


def test_a_text_that_is_not_there_is_noticed_before_the_teacher_is_trained(hub):
    ended = plmc("train", *WORDS, "recipe=tinybert_general", "recipe.stages.general.feeds.text.corpus=tiny/novel")
    assert (
        ended.code == 2
        and "data set tiny/novel: there is no such repository on the Hub, or it is private" in ended.message
    )
    assert "updates of" not in ended.text


def test_the_hub_may_stumble_as_often_as_its_clients_bear(hub):
    hub.faults.append(["HEAD /$", 503, 3])
    assert plmc("validate", *WORDS, "recipe=kd").code == 0
    forget()
    hub.faults[:] = [["HEAD /$", 503, 99]]
    ended = plmc("validate", *WORDS, "recipe=kd", "seed=2")
    assert ended.code == 0 and "answers with status 503" in ended.text  # from the cache


def test_the_time_limit_can_be_set(hub, monkeypatch):
    monkeypatch.setenv("PLMC_HUB_TIMEOUT", "soon")
    ended = plmc("validate", *WORDS, "recipe=kd")
    assert ended.code == 2 and "PLMC_HUB_TIMEOUT=soon is no number of seconds" in ended.message


@pytest.mark.parametrize(
    "closed, token, name, parts",
    [
        ("gated", None, BERT, ["is gated", "no token was sent", "hf auth login", "HF_TOKEN"]),
        ("gated", "hf_good", BERT, ["is gated", "your account is not on the list", "Ask for access at"]),
        ("private", None, BERT, ["there is no such repository on the Hub, or it is private", "hf auth login"]),
        ("forbidden", "hf_good", BERT, ["the Hub forbids it (403)"]),
        (None, "hf_wrong", BERT, ["does not know the token that was sent"]),
        (None, None, "tiny/brt", ["there is no such repository", "Check the name"]),
        (None, None, "tiny/bert@v9", ["there is no such revision"]),
    ],
)
def test_what_the_hub_refuses_has_its_cause_and_its_cure(hub, monkeypatch, closed, token, name, parts):
    hub.closed[BERT] = closed
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    ended = plmc("validate", *WORDS, "recipe=kd", f"teacher.name={name}")
    assert ended.code == 2 and ended.text.count("error ") == 1, ended.text
    for part in parts:
        assert part in ended.message


def test_a_private_repository_opens_with_its_token(hub, monkeypatch):
    hub.closed[BERT] = "private"
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    assert plmc("validate", *WORDS, "recipe=kd").code == 0


def pickled(hub, extra=None):
    """A repository whose weights are a pickle alone; returns the tensors in it."""
    import shutil

    source, target = hub.root / "models/tiny/bert/main", hub.root / "models/tiny/old/main"
    shutil.copytree(source, target)
    state = load_file(target / "model.safetensors")
    (target / "model.safetensors").unlink()
    torch.save({**state, **(extra or {})}, target / "pytorch_model.bin")
    # What a service may have made of it, for somebody to check.
    shutil.copytree(source, hub.root / "models/tiny/old/refs%2Fpr%2F1")
    return state


def test_pickled_weights_are_refused_with_the_command_that_converts_them(hub, tmp_path):
    state = pickled(hub)
    ended = plmc("train", *WORDS, "recipe=finetune", "teacher.name=tiny/old")
    assert ended.code == 2 and "has its weights in pytorch_model.bin alone" in ended.message, ended.text
    assert not any(
        "refs" in line or "discussions" in line or "POST" in line and "tiny/old" in line for line in hub.asked
    )
    command = next(line.strip() for line in ended.text.splitlines() if line.strip().startswith("plmc convert"))
    assert plmc(*command.split()[1:]).code == 0
    made = load_file(tmp_path / "old" / "model.safetensors")
    assert set(made) == set(state) and all(torch.equal(made[key], state[key]) for key in state)
    train("recipe=finetune", f"teacher.name={tmp_path / 'old'}")
    again = plmc(*command.split()[1:])
    assert again.code == 2 and "is there already" in again.message


class Payload:
    def __reduce__(self):
        import os

        return os.mkdir, ("was_here",)


def test_code_in_a_pickle_is_not_run(hub, tmp_path):
    pickled(hub, {"extra": Payload()})
    ended = plmc("convert", "tiny/old", "new")
    assert ended.code == 2 and "is no plain file of weights" in ended.message
    assert not (tmp_path / "was_here").exists() and not (tmp_path / "new").exists()


def test_a_revision_is_part_of_the_run_and_of_its_record(hub, tmp_path):
    import shutil

    from plmc.config.compose import compose, plain
    from plmc.config.resolve import resolve

    branch = hub.root / "models/tiny/bert/v2"
    shutil.copytree(hub.root / "models/tiny/bert/main", branch)
    (branch / "notes.txt").write_text("another commit")
    run = lambda *words: resolve(plain(compose([*WORDS, "recipe=kd", *words])))  # noqa: E731
    revised = run("teacher.revision=v2")
    assert revised.signature != run().signature == run("teacher.revision=null").signature
    assert revised.teacher.name == revised.student.name == "tiny/bert@v2"
    train("recipe=finetune", "teacher.revision=v2", "data.revision=main")
    result = json.loads(next(tmp_path.glob("outputs/finetune-rte-*/result.json")).read_text())
    assert result["student"]["commit"] == hub.commit("models", BERT, "v2") != hub.commit("models", BERT, "main")


def test_a_download_that_is_cut_says_so(hub):
    snapshot(BERT)
    hub.faults.append(["resolve.*safetensors", 500, 99])
    with pytest.raises(HubUnreachable, match="out of order|download failed"):
        weights(BERT)


def test_nothing_with_code_of_its_own_is_loaded(hub):
    path = hub.root / "models/tiny/bert/main/config.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"auto_map": {"AutoConfig": "code.Own"}, "model_type": "own"})
    )
    (path.parent / "code.py").write_text("raise SystemExit('was run')")
    with pytest.raises(ConfigError):
        load.load_config(BERT)
    assert not any(line.endswith("code.py") for line in hub.asked)
