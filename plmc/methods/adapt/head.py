"""The head of the task, beside the few parameters that a method of adaptation trains."""

from __future__ import annotations

from plmc.core.setting import Setting
from plmc.errors import ConfigError


def check_head(name: str, setting: Setting, *, trained: bool, others: str) -> None:
    """Raises ConfigError if a method is to train a head that is most of the model.

    Args:
        name: of the method.
        trained: the head is trained, too.
        others: what else the method trains, for the message.
    """
    if trained and setting.head.over_vocabulary:
        raise ConfigError(
            f"{name}: the head of a masked language model is the embedding table, most of the model. Set head=false to "
            f"train {others} alone."
        )
