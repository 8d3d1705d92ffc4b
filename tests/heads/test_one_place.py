"""Kinds of task are told apart in `plmc/heads` and nowhere else."""

import ast
from pathlib import Path

import plmc
from plmc.testing.stage import HEADS

ROOT = Path(plmc.__file__).parent
# Other things of the same name: ways to find candidates, a field of a stage, a teacher of a stage.
OTHERS = {
    "self.candidates == 'mlm'",
    "self.candidates in ('mlm', 'auto')",
    "self.candidates == 'mlm' and setting.mlm_source is None",
    "'mlm' in stage",
    "which == 'mlm'",
}


def comparisons(source: str) -> list[str]:
    """The comparisons in Python code of which one side is, or holds, the name of a kind."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            constants = [leaf.value for leaf in ast.walk(node) if isinstance(leaf, ast.Constant)]
            if any(isinstance(value, str) and value in HEADS for value in constants):
                found.append(ast.unparse(node))
    return found


def test_no_code_compares_with_the_name_of_a_kind():
    wrong = {
        f"{path.relative_to(ROOT)}: {text}"
        for path in ROOT.rglob("*.py")
        if not {"embedded", "testing"} & set(path.parts)
        for text in comparisons(path.read_text(encoding="utf-8"))
        if text not in OTHERS
    }
    assert not wrong


def test_the_search_finds_what_it_looks_for():
    assert comparisons("if task.kind == 'span' or kind in ('mlm', 'x'): pass") == [
        "task.kind == 'span'",
        "kind in ('mlm', 'x')",
    ]
    assert comparisons("if method.name == 'spanner': pass") == []
