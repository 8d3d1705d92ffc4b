"""A hint of an error is typed as it stands, and then the command is right."""

import re

import pytest
from commands import plmc

# A command that is refused, and which of its words the hint takes the place of (None: it is added).
REFUSED = [
    (["recipe=tinybrt"], "recipe=tinybrt"),
    (["recipe=kd", "task=rtee"], "task=rtee"),
    (["recipe=kd", "method=[gpm]"], "method=[gpm]"),
    (["recipe=kd", "method=[gmp,swa]", "methods.swa.begin=50%"], "methods.swa.begin=50%"),
    (["recipe=kd", "methods.kd.temprature=3"], "methods.kd.temprature=3"),
    (["recipe=kd", "budgt.steps=3"], "budgt.steps=3"),
    (["recipe=kd", "recipe=[kd,swa]"], "recipe=[kd,swa]"),
    (["recipe=finetune", "methods.gmp.final=0.8"], None),
    (["recipe=structured", "methods.head_prune.keep=0"], "methods.head_prune.keep=0"),
    (
        ["recipe=structured", "methods.head_prune.begin=50%", "methods.head_prune.end=40%"],
        "methods.head_prune.begin=50%",
    ),
    (["recipe=qat", "methods.qat.scheme=q8brt"], "methods.qat.scheme=q8brt"),
    (["recipe=kd", "quantize=int9"], "quantize=int9"),
    (["recipe=gmp_star", "method=[layer_drop]", "methods.layer_drop.k=20"], "methods.layer_drop.k=20"),
]
WORD = re.compile(r"(?<![\w.])((?:[a-z_]+\.)*[a-z_]+=(?:\[[^\]]*\]|[^\s,;)]*[^\s,;).]))")


def hints(message: str, words: list[str], wrong: str | None) -> list[str]:
    """What the error offers: words `key=value`, or the nearest right name of `did you mean`."""
    found = [word for word in WORD.findall(message.partition("error ")[2]) if word not in words]
    if one_of := re.search(r"(?:Write one of|Use one of:?) (\w+)", message):
        found.append(f"{(wrong or '').partition('=')[0]}={one_of[1]}")
    if near := re.search(r"Did you mean ([\w.\-]+)\?", message):
        key, _, value = (wrong or "").partition("=")
        name = near[1]
        above, rest = ".".join([*key.split(".")[:-1], name]), key.partition(".")[2]
        found += [
            f"{key}=[{name}]" if value.startswith("[") else f"{key}={name}",
            f"{above}={value}",
            f"{name}.{rest}={value}",
        ]
    return found


@pytest.mark.parametrize("words, wrong", REFUSED, ids=lambda value: str(value))
def test_a_hint_works_when_it_is_typed(small, words, wrong):
    ended = plmc("validate", *small, *words)
    assert ended.code == 2, ended.text
    offered = hints(ended.message, words, wrong)
    assert offered, ended.text
    kept = [word for word in words if word != wrong]
    tried = {hint: plmc("validate", *small, *kept, *([hint] if hint not in kept else [])) for hint in offered}
    assert any(again.code == 0 for again in tried.values()), (ended.message, {h: a.message for h, a in tried.items()})
