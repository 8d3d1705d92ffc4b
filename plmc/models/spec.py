"""What a model is made from: a name, the layers to keep, or a new shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from plmc.core.fields import Added, Amount, Checked, Count, Range, rules, verify
from plmc.errors import ConfigError

Size = Annotated[int, Range(1, 1_000_000)]
ALTERNATE, TOP, BOTTOM = "alternate", "top", "bottom"


@dataclass(frozen=True, kw_only=True)
class Shape(Checked):
    """An encoder from scratch: number of layers, hidden width, attention heads, feed-forward width."""

    layers: Size
    width: Size
    heads: Size
    intermediate: Size

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ConfigError(f"shape: width {self.width} is not a multiple of {self.heads} heads.")


@dataclass(frozen=True, kw_only=True)
class ModelSpec(Checked):
    """A model to start from.

    Attributes:
        name: a Hub id, a folder, a finished plmc run, or `minilm-l6`.
        layers: null for all; a list of 0-based layers to keep; or a number of layers with `pick`: `alternate` (evenly
            spread, first and last included), `top` or `bottom` of the original.
        shape: random weights of this shape instead, with the family and tokenizer of `name`.
        revision: a branch, tag or commit of a Hub id; `name` is then `id@revision`, which may be written so, too.
    """

    name: str
    layers: Literal["half"] | Count | Sequence[Amount] | None = None
    pick: Literal["alternate", "top", "bottom"] = "alternate"
    shape: Shape | Mapping[str, Any] | None = None
    revision: Annotated[str | None, Added(None)] = None

    def __post_init__(self) -> None:
        if self.revision and self.name and "@" not in self.name:
            if "/" not in self.name or Path(self.name).expanduser().is_dir():
                raise ConfigError(f"revision={self.revision} is of a Hub id; {self.name} is none.")
            object.__setattr__(self, "name", f"{self.name}@{self.revision}")
        if isinstance(self.shape, Mapping):
            verify(Shape, self.shape, "shape")
            missing = set(rules(Shape)) - set(self.shape)
            if missing:
                raise ConfigError(f"model {self.name}: shape lacks {', '.join(sorted(missing))}.")
            object.__setattr__(self, "shape", Shape(**{key: self.shape[key] for key in rules(Shape)}))
        if self.layers is not None and self.shape is not None:
            raise ConfigError(
                f"model {self.name}: layers (taken from the model) and shape (from scratch) exclude each other."
            )
        if isinstance(self.layers, (list, tuple)) and not self.layers:
            raise ConfigError(f"model {self.name}: layers=[] keeps no layer at all.")

    def kept(self, available: int) -> list[int] | None:
        """0-based layers to keep of `available`, or None for all. Raises ConfigError where a layer does not exist."""
        if self.layers is None:
            return None
        if isinstance(self.layers, (list, tuple)):
            kept = [int(layer) for layer in self.layers]
            wrong = [layer for layer in kept if not 0 <= layer < available]
            if wrong or len(set(kept)) != len(kept):
                raise ConfigError(
                    f"layers={kept}: {self.name} has {available} layers, so use distinct numbers from 0 to "
                    f"{available - 1}."
                )
            return sorted(kept)
        count = available // 2 if self.layers == "half" else self.layers
        if not isinstance(count, int) or not 1 <= count <= available:
            raise ConfigError(
                f"layers={self.layers}: {self.name} has {available} layers; use 1 to {available}, half, or a list."
            )
        if self.pick == TOP:
            return list(range(available - count, available))
        if self.pick == BOTTOM:
            return list(range(count))
        if count == 1:
            return [0]
        # Evenly spread with both ends kept: 12 to 6 gives 0 2 4 7 9 11, as DistilBERT chose; 6 to 3 gives 0 2 5.
        return [_nearest(i * (available - 1), count - 1) for i in range(count)]


def _nearest(part: int, whole: int) -> int:
    """`part / whole` rounded to the nearest integer, halves down: exact, and the same for odd and even numbers."""
    return -((whole - 2 * part) // (2 * whole))
