"""Quantization-aware training: the student trains, and is judged, with 8-bit weights and activations."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from plmc.core.clock import Clock, Point
from plmc.core.fields import Decay
from plmc.core.method import Join, Method
from plmc.core.setting import Building, Setting
from plmc.errors import ConfigError
from plmc.methods.quant.modules import Switch, advance, convert, insert, sync
from plmc.methods.quant.schemes import scheme
from plmc.models import encoder


@dataclass
class QAT(Method):
    """Simulates 8-bit integers in Linear and Embedding modules; the optimizer goes on in full precision.

    Q(w) = s clamp(round(w / s), -127, 127), s = max|w| / 127 of the current weights, gradient dQ/dw := 1, also where a
    value is clipped (Q8BERT: Zafrir et al. 2019, arXiv 1910.06188).

    - `embeddings`, `head` (pooler and task head: every Linear outside the blocks): quantize them; null as the scheme
      has it.

    `finish` leaves a plain model whose weights lie exactly on their grids: quantizing it with the same granularity
    gives the trained integers. Ranges go to `config.plmc["quantization"]`. The exported model itself computes
    activations in full precision until it is exported as int8.

    Needs no teacher, but the papers distil. In bf16 products see the grid's values to 8 significant bits. Not to be
    followed by a stage without it, which would leave the grid. Raises ConfigError if `freeze` is before `start`.

    Attributes:
        scheme: `q8bert` (one scale a tensor, int8 activations by a running max|x|, outputs quantized, embeddings and
            pooler, too, but not the task head), `prune_ofa` (uint8 activations by a running range, embeddings left
            alone: Zafrir et al. 2021, arXiv 2111.05754), `per_channel` (a scale a row, uint8 activations by their own
            range: what the int8 export computes) or `static` (the same by a running range: what the int8-static export
            computes).
        start: from then on tensors are quantized; before, ranges are only followed. At 100% the method is off. A
            running range moves once an update, by all micro-batches and by the first pass of a method that makes
            several.
        freeze: from then on ranges stay as they are; null never.
        decay: of the running ranges, null as the scheme has it.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"matrices"})
    family: ClassVar[str] = "quantization"
    exclusive: ClassVar[frozenset[str]] = frozenset({"quantize"})

    scheme: str = "per_channel"
    start: Point = "0%"
    freeze: Point | None = None
    decay: Decay | None = None
    embeddings: bool | None = None
    head: bool | None = None

    def __post_init__(self) -> None:
        scheme(self.scheme)
        if self.decay is not None and scheme(self.scheme).decay is None:
            raise ConfigError(f"scheme={self.scheme} follows no ranges. Remove decay, or set scheme=q8bert")
        self._switch = Switch()
        self._inserted = False
        self._ranges: dict[str, dict[str, list[float]]] = {}

    def required(self) -> frozenset[str]:
        # Ranges see the activations of padding, too.
        return self.needs | ({"padding"} if scheme(self.scheme).decay else set())

    def check(self, setting: Setting) -> None:
        clock = setting.clock
        if clock is not None and self.freeze is not None and clock.at(self.freeze) < clock.at(self.start):
            raise ConfigError(
                f"{self.name}: ranges freeze at {self.freeze}, before quantization starts at {self.start}. "
                f"Set methods.{self.name}.freeze={self.start} or later."
            )

        if clock is not None and self.freeze is not None and scheme(self.scheme).decay and not clock.at(self.freeze):
            raise ConfigError(
                f"{self.name}: freeze={self.freeze} leaves no update to find ranges in. Set "
                f"methods.{self.name}.freeze=80%"
            )

    def settled(self, clock: Clock) -> int:
        # Scores from before are those of another model.
        return clock.at(self.start) if self._acts(clock) else 0

    def prepare(self, model: nn.Module, setting: Building) -> nn.Module:
        self._switch, self._ranges = Switch(), {}
        self._inserted = setting.clock is None or self._acts(setting.clock)
        if self._inserted:
            chosen = scheme(self.scheme)
            decay = self.decay if self.decay is not None else chosen.decay or 0.0
            insert(model, self._names(model), chosen, decay=decay, switch=self._switch)
        return model

    def scope(self, model: nn.Module, clock: Clock) -> AbstractContextManager[None]:
        self._follow(clock)
        return nullcontext()

    def sync(self, model: nn.Module, clock: Clock, join: Join) -> None:
        if self._inserted and self._observes(clock.step, clock):
            sync(model, join)

    def after_update(self, model: nn.Module, clock: Clock) -> None:
        if self._inserted and self._observes(clock.step - 1, clock):
            advance(model, self._switch)
        # An evaluation comes before the next training forward.
        self._follow(clock)

    def finish(self, model: nn.Module, setting: Building) -> nn.Module:
        if not self._inserted:
            return model
        found = convert(model)
        # Of a stage that was finished before, the state has the ranges and the modules are new.
        self._ranges = self._ranges or found
        kept = scheme(self.scheme)
        record = {
            "scheme": self.scheme,
            "weights": "per_row" if kept.rows else "per_tensor",
            "activations": kept.activations,
            "embeddings": self._embeddings,
            "head": kept.head if self.head is None else self.head,
            "ranges": self._ranges,
        }
        encoder.set_record(model.config, quantization=record)
        return model

    def metrics(self) -> dict[str, float]:
        return {"on": float(self._switch.on)}

    def state_dict(self) -> dict[str, Any]:
        return {**vars(self._switch), "ranges": self._ranges}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name in vars(self._switch):
            setattr(self._switch, name, state[name])
        self._ranges = state["ranges"]

    @property
    def _embeddings(self) -> bool:
        return scheme(self.scheme).embeddings if self.embeddings is None else self.embeddings

    def _acts(self, clock: Clock) -> bool:
        return clock.at(self.start) < clock.total

    def _follow(self, clock: Clock) -> None:
        self._switch.on = self._inserted and clock.step >= clock.at(self.start)
        self._switch.observing = not clock.repeated and self._observes(clock.step, clock)

    def _observes(self, step: int, clock: Clock) -> bool:
        return self.freeze is None or step < clock.at(self.freeze)

    def _names(self, model: nn.Module) -> dict[str, bool]:
        """The modules to quantize, and whether their outputs are quantized."""
        chosen = scheme(self.scheme)
        inside = {id(module) for module in encoder.base(model).modules()}
        blocks = encoder.pruned_linears(model)
        tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
        names = {}
        for name, module in model.named_modules():
            if isinstance(module, nn.Embedding) and self._embeddings:
                names[name] = False
            elif isinstance(module, nn.Linear) and id(module.weight) not in tables:
                outside = id(module) not in inside
                fits = chosen.head if outside else chosen.pooler
                if name in blocks or (fits if self.head is None else self.head):
                    exempt = any(part in name for part in chosen.exempt) or (outside and not chosen.head_outputs)
                    names[name] = chosen.outputs and not exempt
        return names
