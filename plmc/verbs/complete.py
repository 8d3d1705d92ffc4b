"""Tab completion of overrides, by Hydra's own engine."""

from __future__ import annotations


def complete(args: list[str], incomplete: str) -> list[str]:
    """What could stand where the cursor is, given the words before it."""
    from hydra import initialize_config_dir
    from hydra._internal.core_plugins.bash_completion import BashCompletion
    from hydra.core.global_hydra import GlobalHydra

    from plmc.compose import conf_dir

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_dir().resolve()), version_base="1.3"):
        engine = BashCompletion(GlobalHydra.instance().config_loader())
        return engine._query("train", " ".join([*args, incomplete]))
