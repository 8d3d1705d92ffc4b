"""Dropping whole layers of a pre-trained encoder before fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from torch import nn

from plmc.core.fields import Amount, Count
from plmc.core.method import Method
from plmc.core.setting import Building, Dims
from plmc.errors import ConfigError, TrainingError
from plmc.methods.layers.strategies import RULES, Rule, dropped, least_contributing
from plmc.methods.layers.surgery import contribution_scores, sample_rows
from plmc.models.encoder import dims, set_layers


@dataclass
class LayerDrop(Method):
    """Removes layers of the student before training and joins the rest; nothing is frozen.

    H_0 = Emb(x), H_j = Layer_{kept(j)}(H_{j-1}) (Sajjad et al. 2023, arXiv 2004.03844). Not the structured dropout of
    the same name (Fan et al. 2020, arXiv 1909.11556).

    - Give one of: `strategy` with `k` (how many to drop, or `half`); `drop` or `keep`, indices **counted from 0**.

    Needs no teacher; `contribution` needs the task's data. Composes badly with layer maps written for the full student.
    Raises ConfigError on indices or counts that the student does not have.

    Attributes:
        strategy: `top`, `bottom`, `even_alternate`, `odd_alternate`, `symmetric`, or `contribution`: the layers whose
            input and output are most alike at [CLS] on `rows` development rows; the `k` highest, or all above
            `threshold`.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"blocks"})
    family: ClassVar[str] = "pruning"
    place: ClassVar[str] = "first"

    strategy: Rule | Literal["contribution"] | None = None
    k: Literal["half"] | Amount | None = None
    drop: Sequence[int] | None = None
    keep: Sequence[int] | None = None
    threshold: float | None = None
    rows: Count = 512

    def __post_init__(self) -> None:
        given = [key for key in ("strategy", "drop", "keep") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ConfigError(
                f"layer_drop wants one of strategy, drop and keep, but got {' and '.join(given) or 'none'}. "
                f"Write strategy=top k=6, drop=[9,10,11] or keep=[0,2,4] (0-based); set the others to null."
            )
        if self.strategy is None and (self.k is not None or self.threshold is not None):
            raise ConfigError(f"k and threshold belong to a strategy, not to {given[0]}. Set k=null threshold=null")
        if self.strategy in RULES and (self.k is None or self.threshold is not None):
            raise ConfigError(f"strategy={self.strategy} wants k, the number of layers to drop, and no threshold.")
        if self.strategy == "contribution" and (self.k is None) == (self.threshold is None):
            raise ConfigError("strategy=contribution wants either k or threshold. Write for example k=4 threshold=null")
        for key in ("drop", "keep"):
            if getattr(self, key) is not None:
                setattr(self, key, sorted(getattr(self, key)))
        self.scores: list[float] | None = None
        self._dropped: list[int] | None = None
        self._kept = 0

    def dims_after(self, before: Dims) -> Dims | None:
        """The student's shape after the cut; None where only data can tell (`contribution` with a threshold).

        Raises ConfigError if a student of that shape cannot be cut so.
        """
        if self.strategy == "contribution":
            if self.k is None:
                return None
            k = self._count(before.layers)
            if k >= before.layers:
                raise ConfigError(
                    f"{self.name}: k={self.k} of {before.layers} layers cannot be dropped; one must stay."
                )
            return replace(before, layers=before.layers - k)
        return replace(before, layers=before.layers - len(self._chosen(before.layers)))

    def prepare(self, model: nn.Module, setting: Building) -> nn.Module:
        count = dims(model).layers
        if self.strategy == "contribution":
            self._dropped = self._measured(model, setting)
        else:
            self._dropped = self._chosen(count)
        set_layers(model, [index for index in range(count) if index not in self._dropped])
        self._kept = count - len(self._dropped)
        return model

    def metrics(self) -> dict[str, float]:
        return {"layers": float(self._kept)}

    def state_dict(self) -> dict[str, Any]:
        return {"dropped": self._dropped, "scores": self.scores}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state["dropped"] != self._dropped:
            raise TrainingError(
                f"{self.name}: the checkpoint was made without the layers {state['dropped']}, this run dropped "
                f"{self._dropped} (0-based). Start the run again, or set methods.{self.name}.drop={state['dropped']}"
            )
        self.scores = state["scores"]

    def _chosen(self, count: int) -> list[int]:
        if self.strategy is not None and self.strategy != "contribution":
            return dropped(self.strategy, count, self._count(count))
        named = self.drop if self.drop is not None else self.keep or ()
        key = "drop" if self.drop is not None else "keep"
        if len(set(named)) != len(named) or any(not 0 <= index < count for index in named):
            raise ConfigError(
                f"{self.name}: {key}={named}, but the student's {count} layers are numbered 0 to {count - 1} (0-based, "
                f"unlike in the paper). Name each layer once."
            )
        chosen = list(named) if key == "drop" else [index for index in range(count) if index not in named]
        if len(chosen) == count:
            raise ConfigError(f"{self.name}: {key}={named} leaves none of the {count} layers. At least one must stay.")
        return chosen

    def _measured(self, model: nn.Module, setting: Building) -> list[int]:
        if not setting.data.evaluation:
            raise ConfigError(
                f"{self.name}: strategy=contribution measures layers on development rows, but the stage has none. "
                f"Set methods.{self.name}.strategy=top"
            )
        split = next(iter(setting.data.evaluation.values()))
        self.scores = contribution_scores(model, split, sample_rows(split, self.rows))
        k = None if self.k is None else self._count(len(self.scores))
        return least_contributing(self.scores, k=k, threshold=self.threshold)

    def _count(self, layers: int) -> int:
        return layers // 2 if self.k == "half" else self.k or 0
