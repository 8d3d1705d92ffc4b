"""Help, lists, completion and configs of one's own: what a stranger tries first."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from commands import plmc

from plmc.cli.complete import complete
from plmc.config.folders import options

VERBS = ("train", "validate", "show", "ls", "evaluate", "predict", "compare", "ui", "doctor")


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout


def test_the_command_line_loads_nothing_heavy():
    heavy = {"torch", "transformers", "mlflow", "datasets", "hydra", "omegaconf", "numpy"}
    assert set(python("import sys, plmc.cli.app; print(*sys.modules)").split()) & heavy == set()


def test_a_check_loads_no_library_that_only_training_needs():
    # torch and transformers are needed: the precision depends on the device, the shapes on the model's config class.
    code = (
        "import sys; sys.argv = ['plmc', 'validate', 'recipe=tinybert', 'method=[gmp,swa]', 'preset=offline', "
        "'task=sst2']\nimport plmc.cli.app\n"
        "try: plmc.cli.app.main()\n"
        "except SystemExit: pass\n"
        "print(*sys.modules)"
    )
    heavy = {"accelerate", "datasets", "matplotlib", "mlflow", "pandas", "pyarrow", "scipy", "sklearn", "torch._dynamo"}
    loaded = set(python(code).split())
    assert "torch" in loaded and loaded & heavy == set()


def _spins(**variables: str) -> str:
    """What GNU OpenMP itself says of its waiting threads when the command line has loaded torch."""
    code = (
        "import sys; sys.argv = ['plmc', '--version']\n"
        "import plmc.cli.app\n"
        "try: plmc.cli.app.main()\n"
        "except SystemExit: pass\n"
        "import torch"
    )
    plain = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    environment = {**plain, **variables, "OMP_DISPLAY_ENV": "verbose"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60, env=environment
    )
    return done.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="GNU OpenMP is what torch uses on Linux")
def test_threads_sleep_at_barriers_unless_the_user_says_otherwise():
    assert "GOMP_SPINCOUNT = '1000'" in _spins()
    assert "GOMP_SPINCOUNT = '77'" in _spins(GOMP_SPINCOUNT="77")
    # An active policy has a spin count of its own, which ours would undo.
    assert "GOMP_SPINCOUNT = '1000'" not in _spins(OMP_WAIT_POLICY="active")


def test_help_loads_no_library_of_weight():
    code = (
        "import sys; sys.argv = ['plmc', '--help']\n"
        "import plmc.cli.app\n"
        "try: plmc.cli.app.main()\n"
        "except SystemExit: pass\n"
        "print('loaded', *sorted({name.split('.')[0] for name in sys.modules} & set(HEAVY)))"
    )
    heavy = ["torch", "transformers", "datasets", "hydra", "omegaconf", "mlflow", "numpy", "pandas", "huggingface_hub"]
    # Seconds depend on the machine; what is imported does not.
    assert python(f"HEAVY = {heavy}\n{code}").splitlines()[-1] == "loaded"


def test_help_names_every_verb_and_every_verb_shows_examples():
    top = plmc("--help")
    assert top.code == 0 and all(verb in top.text for verb in VERBS)
    for verb in VERBS:
        helped = plmc(verb, "--help")
        assert helped.code == 0 and f"plmc {verb}" in helped.text
    text = plmc("train", "--help").text
    # Square brackets are markup in help texts, and vanish unless they are escaped.
    assert "method=[gmp,swa]" in text and "lists as [a,b]" in text


def test_version_is_one_line():
    ended = plmc("--version")
    assert ended.code == 0 and ended.text.strip()[0].isdigit()


def test_a_wrong_verb_gets_the_right_one():
    ended = plmc("trian", "recipe=kd")
    assert ended.code == 2 and "'train'" in ended.text


@pytest.mark.parametrize(
    "before, incomplete, expected",
    [
        ([], "recipe=tiny", {"recipe=tinybert", "recipe=tinybert_code", "recipe=tinybert_general"}),
        (["recipe=kd"], "task=st", {"task=stsb"}),
        (["recipe=kd", "-m"], "budget.ep", {"budget.epochs="}),
        # As bash cuts it.
        (["recipe", "="], "tiny", {"tinybert", "tinybert_code", "tinybert_general"}),
        (["recipe", "=", "kd", "task"], "=", set(options("task"))),
        ([], "method=[gmp,sa", {"method=[gmp,sam"}),
        ([], "method=[l", {"method=[layer_drop", "method=[lock", "method=[lora"}),
        (["method", "="], "[gmp_", {"[gmp_lrr"}),
        (["recipe=kd", "method=[swa]"], "methods.", {"methods.kd.", "methods.swa."}),
        (["recipe=kd"], "methods.kd.t", {"methods.kd.temperature="}),
        (["recipe=kd"], "methods.nothing.t", set()),
        ([], "recipe=zzz", set()),
        (["recipe=zzz"], "task=st", {"task=stsb"}),
        (["--config-dir", "nowhere"], "task=st", set()),
    ],
)
def test_tab_completes_groups_options_and_keys(before, incomplete, expected):
    assert expected == set(complete(before, incomplete))


def test_the_shell_gets_its_completions(tmp_path):
    (tmp_path / "conf/recipe").mkdir(parents=True)
    (tmp_path / "conf/recipe/mine.yaml").write_text("name: mine\n")
    assert complete(["--config-dir", "conf"], "recipe=mi") == ["recipe=mine"]
    asked = {"_PLMC_COMPLETE": "complete_bash", "COMP_WORDS": "plmc train task = rte recipe = gmp_s", "COMP_CWORD": "7"}
    plmc_itself = Path(sys.executable).with_name("plmc")
    ended = subprocess.run([plmc_itself], capture_output=True, text=True, timeout=60, env=os.environ | asked)
    assert ended.stdout.split() == ["gmp_star"]


def test_the_shell_gets_runs_and_formats(tmp_path):
    for name in ("kd-rte-1-aa", "kd-rte-2-bb", "teachers/teacher-rte-1-cc"):
        (tmp_path / "outputs" / name).mkdir(parents=True)
        (tmp_path / "outputs" / name / "result.json").touch()
    plmc_itself = Path(sys.executable).with_name("plmc")
    for words, expected in {
        "plmc evaluate kd-": ["kd-rte-1-aa", "kd-rte-2-bb"],
        "plmc compare teach": ["teacher-rte-1-cc"],
        "plmc export kd-rte-1-aa --to o": ["onnx", "openvino"],
        "plmc export kd-rte-1-aa --quantize int8": ["int8", "int8-static"],
    }.items():
        asked = {"_PLMC_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
        ended = subprocess.run([plmc_itself], capture_output=True, text=True, timeout=60, env=os.environ | asked)
        assert ended.stdout.split() == expected, words


@pytest.mark.parametrize("what", ["all", "recipes", "methods", "tasks", "models", "presets", "data"])
def test_ls_lists(what):
    ended = plmc("ls", what)
    assert ended.code == 0
    for kind, name in {"recipes": "tinybert", "methods": "gmp", "tasks": "squad", "models": "roberta-base"}.items():
        assert (what not in ("all", kind)) or name in ended.text


def test_doctor_ends_well_on_a_machine_that_can_train():
    ended = plmc("doctor")
    assert ended.code == 0 and "offline" in ended.text


def test_cfg_job_prints_the_config_as_yaml():
    ended = plmc("train", "--cfg", "job", "recipe=kd", "task=rte", "preset=offline")
    config = yaml.safe_load(ended.text)
    assert ended.code == 0 and config["recipe"]["name"] == "kd" and config["data"]["name"] == "embedded"


def test_one_method_needs_no_brackets(small):
    one, many = (plmc("validate", *small, "recipe=kd", f"method={word}") for word in ("gmp", "[gmp]"))
    assert one.code == 0 and one.text == many.text


def test_show_says_where_values_come_from(small):
    text = plmc("show", *small, "recipe=kd", "seed=5").text
    found = {line.split()[0]: " ".join(line.split()[2:]) for line in text.splitlines() if len(line.split()) > 2}
    assert found["seed"] == "command line" and found["budget.steps"] == "command line"
    assert found["budget.train_rows"] == "conf/preset/smoke.yaml"
    assert found["recipe.*"].endswith("conf/recipe/kd.yaml")
    assert found["student.*"].endswith("follows from another choice")


def test_recipe_and_method_of_ones_own(small, tmp_path):
    for group, name, text in (
        (
            "recipe",
            "mine",
            "# A recipe of mine\nname: mine\ntitle: Mine\npaper: none yet\nstages:\n  only:\n    methods:\n"
            "      task: { _target_: plmc.methods.distill.task_loss.TaskLoss }\n",
        ),
        (
            "method",
            "wobble",
            "# @package methods.wobble\n# SAM under another name\n_target_: plmc.methods.sharpness.sam.SAM\nrho: 0.1\n",
        ),
    ):
        (tmp_path / "conf" / group).mkdir(parents=True)
        (tmp_path / "conf" / group / f"{name}.yaml").write_text(text)
    words = (*small, "--config-dir", "conf", "recipe=mine", "method=[wobble]", "task=rte", "latency_rows=0")
    assert plmc("validate", *words).text.startswith("ok mine-rte-1-")
    assert "rho=0.1" in plmc("show", *words).text
    trained = plmc("train", *words)
    assert trained.code == 0, trained.text
    assert "mine+wobble" in trained.text
    listed = plmc("ls", "--config-dir", "conf").text
    assert "A recipe of mine" in listed and "SAM under another name" in listed

    # Flags may stand anywhere.
    swept = plmc(
        "train", *small, "recipe=mine", "-m", "task=rte", "--config-dir=conf", "method=[wobble]", "latency_rows=0"
    )
    assert swept.code == 0 and "finished before" in swept.text

    wrong = plmc("validate", *small, "--config-dir", "conf", "recipe=mien")
    assert wrong.code == 2 and "Did you mean mine?" in wrong.message
    assert "no such folder" in plmc("train", *small, "--config-dir", "cnof", "recipe=mine").message


def test_a_fault_shows_its_traceback_only_on_request(small, monkeypatch):
    from plmc.run import execute

    def broken(*args, **kwargs):
        raise ZeroDivisionError("the fault")

    monkeypatch.setattr(execute, "execute", broken)
    plain, full = plmc("train", *small, "recipe=finetune"), plmc("train", *small, "recipe=finetune", "--debug")
    assert plain.code == full.code == 1
    assert "ZeroDivisionError: the fault" in plain.text and "--debug" in plain.text and "Traceback" not in plain.text
    assert "Traceback" in full.text


def test_errors_go_to_standard_error(capsys):
    from plmc.cli.app import main

    sys.argv, before = ["plmc", "train", "recipe=kdd"], sys.argv
    try:
        with pytest.raises(SystemExit):
            main()
    finally:
        sys.argv = before
    captured = capsys.readouterr()
    assert captured.out == "" and "there is no such recipe" in captured.err


def test_send_pending_is_asked_after_a_run_and_not_without_tracking(small, monkeypatch):
    from plmc import track

    asked = []
    monkeypatch.setattr(track, "send_pending", lambda outputs, *, patience: asked.append(outputs.name))
    words = [*small, "recipe=finetune", "task=rte", "latency_rows=0"]
    assert plmc("train", *words).code == 0 and asked == []
    # The run is finished, so this costs no training and no contact with MLflow.
    assert plmc("train", *words, "tracking=mlflow").code == 0 and asked == ["outputs"]


def test_validate_expands_globs_and_intervals_as_a_sweep_does(small, zoo):
    ended = plmc("validate", *small, "recipe=glob(gmp*)", "seed=range(1,3)")
    assert ended.code == 0 and "ok gmp_star-" in ended.text and "ok gmp_obert-" in ended.text and "-2-" in ended.text
    ended = plmc("validate", *small, "recipe=glob(xyz*)")
    assert ended.code == 2 and "recipe=glob(xyz*) fits no recipe" in ended.message
    ended = plmc("validate", *small, "recipe=kd", "train.lr=interval(1e-5,1000)")
    assert ended.code == 2 and "train.lr=1000" in ended.message


BROKEN = {
    "broken YAML": ("recipe/own.yaml", b"name: [own", "recipe=own", "own.yaml is no YAML that can be read"),
    "binary": ("recipe/own.yaml", b"\xff\xfe\x00\x01\x80", "recipe=own", "own.yaml is no YAML that can be read"),
    "a loop": ("recipe/own.yaml", b"defaults: [own, _self_]\nname: own\n", "recipe=own", "go round in a circle"),
    "stages as a list": ("recipe/own.yaml", b"name: own\nstages: [a]\n", "recipe=own", "recipe.stages must map names"),
    "stages of text": ("recipe/own.yaml", b"name: own\nstages: {a: b}\n", "recipe=own", "recipe.stages must map names"),
    "methods as a list": (
        "recipe/own.yaml",
        b"name: own\nstages: {a: {methods: [k]}}\n",
        "recipe=own",
        "map names to methods",
    ),
    "a method of text": (
        "recipe/own.yaml",
        b"name: own\nstages: {a: {methods: {kd: b}}}\n",
        "recipe=own",
        "has no _target_",
    ),
    "defaults of another kind": (
        "recipe/own.yaml",
        b"defaults: {a: b}\nname: own\n",
        "recipe=own",
        "defaults must be a list",
    ),
    "a list": ("recipe/own.yaml", b"[a, b]\n", "recipe=own", "is no mapping of settings"),
    "no name": ("recipe/own.yaml", b"stages: {a: {methods: {}}}\n", "recipe=own", "recipe.name is missing"),
}


@pytest.mark.parametrize("verb", ["train", "validate", "show"])
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_config_folder_is_one_clear_error(name, verb, small, tmp_path):
    path, content, word, message = BROKEN[name]
    (tmp_path / "conf" / path).parent.mkdir(parents=True)
    (tmp_path / "conf" / path).write_bytes(content)
    ended = plmc(verb, *small, "--config-dir", str(tmp_path / "conf"), word)
    assert ended.code == 2 and ended.text.count("error ") == 1 and message in ended.message, ended.text
    assert "fault of plmc" not in ended.text and "Traceback" not in ended.text


def test_a_sweep_reaches_a_method_of_a_recipe_by_its_name(small, tmp_path):
    ended = plmc("train", "-m", *small, "recipe=kd", "methods.kd.temperature=2,4", "latency_rows=0")
    assert ended.code == 0, ended.text
    found = sorted(
        yaml.safe_load(path.read_text())["recipe"]["stages"]["distil"]["methods"]["kd"]["temperature"]
        for path in (tmp_path / "outputs").glob("kd-*/config.yaml")
    )
    assert found == [2, 4]


def test_a_conflict_is_told_before_a_model_that_is_missing():
    ended = plmc("validate", "recipe=kd", "method=[gmp,swa]", "methods.swa.begin=50%", "teacher.name=nobody/nothing")
    assert ended.code == 2 and "Set methods.swa.begin=70%" in ended.message
    assert "nobody/nothing" in plmc("validate", "recipe=kd", "teacher.name=nobody/nothing").message


def test_an_address_that_cannot_be_read_is_not_printed():
    ended = plmc("validate", "recipe=kd", "preset=offline", "tracking.uri=http://h:5000/?token=hidden")
    assert ended.code == 2 and "'tracking.uri=…' cannot be read" in ended.message and "hidden" not in ended.text


def test_a_masked_language_model_may_be_named_as_the_source_of_words(small):
    """Its name is known before it is loaded."""
    words = ["recipe=finetune", "task=rte", "method=[augment]", "methods.augment.candidates=mlm"]
    assert plmc("validate", *small, *words).code == 0
