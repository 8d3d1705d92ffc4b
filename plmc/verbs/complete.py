"""Tab completion of overrides, by Hydra's own engine."""

from __future__ import annotations

from collections.abc import Sequence


def complete(before: Sequence[str], incomplete: str) -> list[str]:
    """What could stand where the cursor is, given the words between the verb and it; nothing where they are wrong.

    Bash cuts words at `=` and wants back only what follows it; other shells send and take whole words.
    """
    from hydra import initialize_config_dir
    from hydra._internal.core_plugins.bash_completion import BashCompletion
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException

    from plmc.compose import conf_dir, split_words
    from plmc.errors import ConfigError

    words, cut = _joined([*before, "="] if incomplete == "=" else before), ""
    if words and words[-1].endswith("="):
        cut = words.pop()
        incomplete = cut + incomplete.removeprefix("=")
    try:
        overrides, extra = split_words([word for word in words if word not in ("-m", "--multirun")])
        path = [f"hydra.searchpath=[file://{extra.resolve()}]"] if extra else []
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(conf_dir().resolve()), version_base="1.3"):
            engine = BashCompletion(GlobalHydra.instance().config_loader())
            found = engine._query("train", " ".join([*path, *overrides, incomplete]))
    except (ConfigError, HydraException):
        return []
    return [word.removeprefix(cut) for word in found]


def _joined(words: Sequence[str]) -> list[str]:
    joined: list[str] = []
    for word in words:
        if joined and (word == "=" or joined[-1].endswith("=")):
            joined[-1] += word
        else:
            joined.append(word)
    return joined
