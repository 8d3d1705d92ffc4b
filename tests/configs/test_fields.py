"""Every field of every configured class has a type and a range, checked for YAML, command line and Python alike."""

import importlib
import pkgutil
import types
import typing
from dataclasses import MISSING, fields

import pytest

import plmc
from plmc.config.compose import compose, plain
from plmc.config.resolve import resolve
from plmc.core.fields import Checked, moments, rules, verify
from plmc.core.stage import Stage
from plmc.errors import ConfigError
from plmc.methods.distill.logit_kd import LogitKD
from plmc.methods.prune.gmp import GMP
from plmc.methods.prune.gmp_lrr import GMPRewind
from plmc.models.spec import ModelSpec, Shape
from plmc.run.check import check
from plmc.tasks.glue import Glue
from plmc.teachers.spec import TeacherSpec


def configured() -> list[type]:
    """All classes of plmc that a config can describe."""
    for module in pkgutil.walk_packages(plmc.__path__, "plmc."):
        if module.name.split(".")[1] in (
            "methods",
            "tasks",
            "data",
            "core",
            "root",
            "config",
            "model_spec",
            "pretraining",
        ):
            importlib.import_module(module.name)
    found, queue = [], [Checked]
    while queue:
        cls = queue.pop()
        queue += cls.__subclasses__()
        if cls.__module__.startswith("plmc.") and hasattr(cls, "__dataclass_fields__"):
            found.append(cls)
    return sorted(found, key=lambda cls: cls.__qualname__)


def numeric(rule) -> bool:
    """Whether a field wants a number and nothing but a number."""
    origin, parts = typing.get_origin(rule), typing.get_args(rule)
    if origin is typing.Annotated:
        return numeric(parts[0])
    if origin in (typing.Union, types.UnionType):
        return all(numeric(part) for part in parts if part is not type(None))
    return rule in (int, float)


NUMBERS = [(cls, key) for cls in configured() for key, rule in rules(cls).items() if numeric(rule)]
WRONG = (float("nan"), float("inf"), -float("inf"), True, "abc", [1], {"a": 1}, 10**400, -(10**400), 1e300)


def test_there_are_fields_to_try():
    assert len(NUMBERS) > 70


@pytest.mark.parametrize("cls, key", NUMBERS, ids=lambda it: getattr(it, "__name__", it))
def test_no_number_takes_what_is_none(cls, key):
    for value in WRONG:
        with pytest.raises(ConfigError, match=f"here.{key}=.* must be "):
            verify(cls, {key: value}, "here")


@pytest.mark.parametrize("cls", configured(), ids=lambda cls: cls.__qualname__)
def test_every_default_is_one_of_its_field(cls):
    empty = {"Task": ("name",), "Source": ("name",), "Method": ("name",)}
    for entry in fields(cls):
        if entry.init and entry.default is not MISSING and entry.name not in empty.get(cls.__name__, ()):
            verify(cls, {entry.name: entry.default}, "default")


@pytest.mark.parametrize(
    "make",
    [
        lambda: LogitKD(temperature=float("nan")),
        lambda: LogitKD(alpha=True),
        lambda: GMP(begin=[1]),
        lambda: GMP(reintroduction="perhaps"),
        lambda: Stage(name="s", methods={}, clip=float("nan")),
        lambda: Stage(name="s", methods={}, batch_size=2.5),
        lambda: TeacherSpec(name="x", lr=float("inf")),
        lambda: ModelSpec(name="x", layers=[0.5]),
        lambda: ModelSpec(name="x", layers=-3),
        lambda: ModelSpec(name="x", shape={"layers": 2, "width": 8}),
        lambda: Shape(layers=2, width=8, heads=2, intermediate=-1),
        lambda: Glue(name="sst2", max_length=-5),
    ],
)
def test_python_meets_the_same_check(make):
    with pytest.raises(ConfigError):
        make()


TOP = (
    "train.lr=nan",
    "train.clip=nan",
    "train.clip=inf",
    "train.eps=x",
    "budget.steps=1.5",
    "budget.epochs=nan",
    "budget.lr=inf",
    "budget.train_rows=true",
    "threads=-1",
    "threads=abc",
    "threads=100000000",
    "threads=0",
    "compile=maybe",
    "force=perhaps",
    "latency_rows=-1",
    "latency_rows=[3]",
    "checkpoint.steps=0",
    "checkpoint.seconds=-1",
    "checkpoint.seconds=nan",
    "output_dir=null",
    "output_dir=''",
    "output_dir=3",
    "task.max_length=-5",
    "task.max_length=1.5",
    "tracking.uri=nonsense",
    "tracking.uri=3",
    "tracking.enabled=maybe",
    "tracking.model=2",
    "tracking.experiment=''",
    "student.layers=[0.5]",
    "student.layers=nan",
    "seed=abc",
    "seed=1.5",
    "seed=true",
    "seed=99999999999",
    "log_every=0",
    "log_every=nan",
    "device=gpu",
    "precision=true",
    "precision=null",
    "teacher.lr=nan",
    "teacher.epochs=[1]",
    "teacher.head_lr=nan",
    "teacher.cache_gb=0",
    "data.seed=-1",
    "quantize=int3",
    "train=3",
    "budget=3",
    "checkpoint=null",
    "student.pick=middle",
    "train.patience=0",
)


@pytest.mark.parametrize("word", TOP)
def test_a_value_that_cannot_be_is_refused_by_its_own_name(word):
    with pytest.raises(ConfigError) as refusal:
        resolve(plain(compose(["preset=offline", word])))
    key = word.split("=")[0]
    assert key in str(refusal.value) or key.split(".")[-1] in str(refusal.value)


def test_a_seed_is_not_blamed_on_the_teacher():
    with pytest.raises(ConfigError, match="^seed=abc must be a whole number"):
        resolve(plain(compose(["preset=offline", "seed=abc"])))


def test_a_shape_may_be_written_without_its_class():
    spec = ModelSpec(name="x", shape={"layers": 2, "width": 8, "heads": 2, "intermediate": 16})
    assert spec.shape == Shape(layers=2, width=8, heads=2, intermediate=16)


def test_moments_are_found_by_their_type():
    assert set(moments(GMPRewind(last=500))) == {"begin", "end", "every", "last", "rewind", "warmup"}
    assert "cycle" not in moments(GMP(cycle=None))


def test_gmp_lrr_takes_a_last_event_in_updates():
    """What counts updates is placed by the real rows, which nobody knows here yet."""
    words = ["preset=offline", "teacher.name=minilm-l6", "student=same", "method=[gmp_lrr]", "methods.gmp_lrr.last=500"]
    check(resolve(plain(compose(words))))


@pytest.mark.parametrize(
    "word", ["recipe.name=../../x", "task.name=..", "recipe.name=a/b", "recipe.name=''", "task.name=.x"]
)
def test_a_name_cannot_leave_the_folder_of_outputs(word):
    words = ["preset=offline", "task=custom", "task.train=a.csv", "task.text=[a]", "task.labels=[x,y]", word]
    with pytest.raises(ConfigError, match="name"):
        resolve(plain(compose(words)))
