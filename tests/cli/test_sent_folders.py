"""A run's folder that somebody sent: its config cannot run code."""

import sys

import pytest
import yaml
from commands import plmc

from plmc.config.trust import check_config
from plmc.errors import ConfigError

GOOD = {
    "task": {"_target_": "plmc.tasks.glue.Glue", "name": "sst2"},
    "data": {"_target_": "plmc.data.embedded.Embedded", "name": "embedded"},
    "recipe": {"stages": {"s": {"methods": {"kd": {"_target_": "plmc.methods.distill.logit_kd.LogitKD"}}}}},
    "student": {"_target_": "plmc.models.spec.ModelSpec", "shape": {"_target_": "plmc.models.spec.Shape"}},
    "teacher": {"_target_": "plmc.teachers.spec.TeacherSpec", "name": None},
}
BAD = {
    "joblib": {"_target_": "joblib.load", "filename": "payload"},
    "pandas": {"_target_": "pandas.read_pickle", "filepath_or_buffer": "payload"},
    "torch": {"_target_": "torch.load", "f": "payload", "weights_only": False},
    "a function of plmc": {"_target_": "plmc.models.load.load_config"},
    "what a module of plmc imports": {"_target_": "plmc.run.jobs.os.system"},
    "a class that plmc imports": {"_target_": "plmc.models.load.Path"},
    "a class that is no config": {"_target_": "plmc.console.Console"},
    "partial": {"_target_": "plmc.tasks.glue.Glue", "_partial_": True},
    "arguments": {"_target_": "plmc.tasks.glue.Glue", "_args_": ["sst2"]},
    "interpolation": "${oc.env:HOME}",
    "target by interpolation": {"_target_": "${x}"},
    "no text": {"_target_": ["os.system"]},
    "dots": {"_target_": "plmc..os.system"},
}


def test_what_plmc_writes_is_taken():
    check_config(GOOD, "config.yaml")


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("place", ["task.labels", "recipe.deep.er", "list", "data.files"])
def test_what_could_run_code_is_refused_wherever_it_is(name, place):
    config = yaml.safe_load(yaml.safe_dump(GOOD))
    bad = [[BAD[name]]] if place == "list" else BAD[name]
    node = config
    *parents, last = place.split(".")
    for part in parents:
        node = node.setdefault(part, {})
    node[last] = bad
    with pytest.raises(ConfigError):
        check_config(config, "config.yaml")


@pytest.mark.parametrize("verb", [("evaluate",), ("export",), ("predict",), ("bench",)])
def test_no_verb_runs_a_payload(verb, tmp_path, monkeypatch):
    """The payload is a module that leaves a mark when it is imported, let alone called."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "payload_module.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w').close()\ndef load(**_): return ('a',)\n"
    )
    folder = tmp_path / "sent"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "config.json").write_text("{}")
    (folder / "result.json").write_text("{}")
    config = {**GOOD, "task": {**GOOD["task"], "labels": {"_target_": "payload_module.load"}}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    ended = plmc(*verb, folder, *(["a text"] if verb == ("predict",) else []))
    assert ended.code == 2 and "--allow payload_module" in ended.message, ended.text
    assert not (tmp_path / "ran").exists()
    # Even what the user allows must be a class that plmc can configure.
    ended = plmc(*verb, folder, *(["a text"] if verb == ("predict",) else []), "--allow", "payload_module")
    assert ended.code == 2 and "is no method, task, source or model of plmc" in ended.message, ended.text
    sys.modules.pop("payload_module", None)
