"""Which layers to drop: the index rules, 0-based and ascending."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from plmc.errors import ConfigError

Rule = Literal["top", "bottom", "even_alternate", "odd_alternate", "symmetric"]
RULES = get_args(Rule)


def dropped(strategy: Rule, layers: int, k: int) -> list[int]:
    """The `k` of `layers` layers that a strategy of Sajjad et al. (2023, arXiv 2004.03844) drops.

    `top`: the last k. `bottom`: the first k. `even_alternate`, `odd_alternate`: every second layer from the top down,
    those with an even or odd number when counted from 1. `symmetric`: the middle k; as many stay below as above.
    Raises ConfigError if the rule cannot give k layers.
    """
    if not 0 <= k < layers:
        raise ConfigError(f"k={k} of {layers} layers cannot be dropped. Write k=0 to k={layers - 1}; one must stay.")
    if strategy == "top":
        return list(range(layers - k, layers))
    if strategy == "bottom":
        return list(range(k))
    if strategy == "symmetric":
        if (layers - k) % 2:
            near = [n for n in (k - 1, k + 1) if 0 <= n < layers]
            raise ConfigError(
                f"strategy=symmetric keeps as many layers at the bottom as at the top, which k={k} of {layers} does "
                f"not allow. Write k={' or k='.join(map(str, near))}"
            )
        bottom = (layers - k) // 2
        return list(range(bottom, bottom + k))
    # The paper counts from 1, so its even layers have odd indices here.
    candidates = list(range(1 if strategy == "even_alternate" else 0, layers, 2))
    if k > len(candidates):
        raise ConfigError(f"strategy={strategy} can drop at most {len(candidates)} of {layers} layers, not k={k}.")
    return candidates[len(candidates) - k :]


def least_contributing(scores: Sequence[float], *, k: int | None = None, threshold: float | None = None) -> list[int]:
    """The layers whose input and output are most alike: the `k` highest `scores`, or all above `threshold`.

    Of equal scores the higher layer goes first. Raises ConfigError if no layer would stay.
    """
    if k is None:
        assert threshold is not None  # one of the two is given
        chosen = [index for index, score in enumerate(scores) if score > threshold]
    else:
        chosen = sorted(range(len(scores)), key=lambda index: (-scores[index], -index))[:k]
    if len(chosen) >= len(scores):
        raise ConfigError(
            f"all {len(scores)} layers would be dropped; their scores lie between {min(scores):.4f} and "
            f"{max(scores):.4f}. Raise the threshold into that range, or give k."
        )
    return sorted(chosen)
