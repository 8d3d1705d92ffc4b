"""Every method has its config, its card, its row in the suite and a test of its own."""

import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest
from method_rows import ROWS
from omegaconf import OmegaConf

import plmc.methods
from plmc.core.method import Method

ROOT = Path(__file__).parent.parent


def methods() -> dict[str, type]:
    """The methods of the product by class name: those that can be built, not their common bases."""
    found = {}
    for module in pkgutil.walk_packages(plmc.methods.__path__, "plmc.methods."):
        for name, cls in vars(importlib.import_module(module.name)).items():
            ours = inspect.isclass(cls) and issubclass(cls, Method) and cls.__module__ == module.name
            if ours and "__dataclass_params__" in vars(cls):
                found[name] = cls
    return found


def targets() -> set[str]:
    """The classes that configs name."""
    found = set()

    def look(node):
        for key, value in node.items() if isinstance(node, dict) else ():
            if key == "_target_":
                found.add(value.rpartition(".")[2])
            look(value)

    for group in ("method", "recipe"):
        for path in (ROOT / "conf" / group).glob("*.yaml"):
            look(OmegaConf.to_container(OmegaConf.load(path), resolve=False))
    return found


BASES = {"StructuredPruning"}
# The suite trains a classifier; this one is refused there, and test_mlm_methods.py puts it through the same on text.
ON_TEXT = {"TokenKD"}
METHODS = sorted(set(methods()) - BASES)


def test_the_methods_are_found():
    assert {"LogitKD", "GMP", "SAM"} <= set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_it_has_a_config(name):
    assert name in targets() or name == "HeadOnly"  # which teachers alone use


@pytest.mark.parametrize("name", METHODS)
def test_it_has_a_row(name):
    assert name in {type(row.make()).__name__ for row in ROWS} | ON_TEXT


@pytest.mark.parametrize("name", METHODS)
def test_it_has_a_test(name):
    texts = (path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "methods").glob("test_*.py"))
    assert any(f"{name}(" in text for text in texts)


@pytest.mark.parametrize("name", METHODS)
def test_it_has_a_card(name):
    """A card names the class with its module, under its title."""
    cards = (path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "methods").glob("*.md"))
    assert any(f"`{methods()[name].__module__}.{name}`" in card for card in cards)
