"""What pruning of heads and of feed-forward units shares: gates that measure, a schedule, masks, the cut at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from plmc.core.clock import Clock, Point
from plmc.core.compute import Compute
from plmc.core.fields import Count
from plmc.core.method import Join, Method
from plmc.core.setting import Building, Setting
from plmc.core.shares import Sparsity, share
from plmc.errors import ConfigError
from plmc.methods.prune.hold import held, hold, hold_gradients
from plmc.methods.prune.importance import Gates, mean_importance
from plmc.methods.prune.magnitude import keep_largest, scheduled
from plmc.methods.prune.window import above_zero, due
from plmc.models import surgery


@dataclass
class StructuredPruning(Method):
    """Base of `HeadPruning` and `FFNPruning`: units that own rows of some Linear and columns of the next.

    Score: I = mean over rows x of |dL(x)/dξ|, ξ = 1 a gate on the unit's output (Michel et al. 2019, arXiv 1905.10650,
    Eq. 2), over the updates since the last event. Removed share: (1 - `keep`)(1 - (1 - u)³), u the position between
    `begin` and `end`. What belongs to a removed unit is zero from then on and gone from the exported model.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"matrices"})
    family: ClassVar[str] = "pruning"
    keep: Sparsity = 0.5
    begin: Point = "10%"
    end: Point = "70%"
    every: Point = "5%"
    ranking: Literal["global", "layer"] = "layer"
    normalize: bool = True
    multiple: Count = 1

    unit: ClassVar[str] = "unit"

    def __post_init__(self) -> None:
        if str(self.keep) not in ("1", "1.0", "100%"):
            self.keep = share(self.keep, "keep")
        else:
            self.keep = 1.0
        if self.keep == 0:
            raise ConfigError(f"keep=0 would remove every {self.unit}. Write for example keep=0.5")
        above_zero("5%", every=self.every)
        if self.multiple > 1 and self.ranking == "global":
            raise ConfigError(
                f"multiple={self.multiple} wants the same width in every layer. Set ranking=layer, or multiple=1"
            )
        self._reset()

    def _reset(self) -> None:
        self._parts: list[tuple[list[nn.Linear], nn.Linear]] = []
        self._kept: list[Tensor] = []
        self._masks: dict[str, Tensor] = {}
        self._targets: dict[str, nn.Parameter] = {}
        self._names: dict[int, str] = {}
        self._gates = Gates()
        self._size = 1

    def check(self, setting: Setting) -> None:
        if setting.clock is not None:
            self._window(setting.clock)
        for name, method in setting.methods.items():
            if method is self:
                return
            # They finish in reverse: a mask over weights must be laid on before the weights are cut.
            if "mask" in method.exclusive:
                raise ConfigError(
                    f"{self.name}: {name} keeps masks over weights that {self.name} cuts out in the end. "
                    f"List {self.name} first: method=[{self.name},{name}]"
                )

    def settled(self, clock: Clock) -> int:
        return self._window(clock)[1] if self.keep < 1 else 0

    def prepare(self, model: nn.Module, setting: Building) -> nn.Module:
        self._reset()
        return model

    @contextmanager
    def scope(self, model: nn.Module, clock: Clock) -> Iterator[None]:
        # Not in prepare: methods further down the chain may still remove layers there.
        self._bind(model)
        if self.keep == 1 or clock.step >= self.settled(clock):
            yield
            return
        outputs = [columns for _, columns in self._parts]
        hooks = [linear.register_forward_pre_hook(self._gates.open(i, self._size)) for i, linear in enumerate(outputs)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def gradient(self, compute: Compute, params: list[nn.Parameter]) -> Tensor:
        loss = compute()
        self._gates.read()
        hold_gradients(params, self._names, self._masks)
        return loss

    def sync(self, model: nn.Module, clock: Clock, join: Join) -> None:
        self._bind(model)
        if self.keep < 1 and clock.step < self.settled(clock):
            self._gates.sync([len(kept) for kept in self._kept], join, self._parts[0][1].weight.device)

    def after_update(self, model: nn.Module, clock: Clock) -> None:
        self._bind(model)
        if self.keep < 1 and self._event(clock):
            self._prune(clock)
        hold(self._targets, self._masks)

    def weights(self, params: Mapping[str, Tensor], clock: Clock) -> Mapping[str, Tensor]:
        return held(params, self._masks)

    def finish(self, model: nn.Module, setting: Building) -> nn.Module:
        self._parts = []
        self._bind(model)
        if self.keep < 1:
            for (rows, columns), kept in zip(self._parts, self._kept, strict=True):
                surgery.cut(rows, columns, kept.cpu().repeat_interleave(self._size))
            surgery.note(model)
        self._parts, self._targets, self._names = [], {}, {}
        return model

    def metrics(self) -> dict[str, float]:
        total = sum(len(kept) for kept in self._kept)
        return {"kept": sum(int(kept.sum()) for kept in self._kept) / total if total else 1.0}

    def state_dict(self) -> dict[str, Any]:
        return {
            "kept": [kept.clone() for kept in self._kept],
            "masks": dict(self._masks),
            "gates": self._gates.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._parts = []
        self._kept = [kept.clone() for kept in state["kept"]]
        self._masks = dict(state["masks"])
        self._gates.load_state_dict(state["gates"])

    def parts(self, model: nn.Module) -> list[tuple[list[nn.Linear], nn.Linear]]:
        """For each layer the Linears whose rows, and the one whose columns, belong to units."""
        raise NotImplementedError(f"{type(self).__name__} must say what it cuts")

    def size(self, model: nn.Module) -> int:
        """Rows and columns that belong to one unit."""
        return 1

    def _bind(self, model: nn.Module) -> None:
        if self._parts:
            return
        self._parts, self._size = self.parts(model), self.size(model)
        counts = [columns.in_features // self._size for _, columns in self._parts]
        self._kept = self._kept or [torch.ones(count, dtype=torch.bool) for count in counts]
        if [len(kept) for kept in self._kept] != counts:
            raise ConfigError(
                f"{self.name}: what was carried over is of another shape than the student. Remove {self.name} from "
                "carry."
            )
        self._names = {id(param): name for name, param in model.named_parameters()}
        self._targets = dict(model.named_parameters())
        self._masks = {name: mask.to(self._targets[name].device) for name, mask in self._masks.items()}

    def _window(self, clock: Clock) -> tuple[int, int]:
        begin, end = clock.at(self.begin), clock.at(self.end)
        if begin > end or end < 1:
            raise ConfigError(
                f"{self.name}: pruning begins at {self.begin} (update {begin}) and ends at {self.end} (update {end}); "
                f"it must end later, and after the first update. Set methods.{self.name}.begin=10% "
                f"methods.{self.name}.end=70%"
            )
        return begin, end

    def _event(self, clock: Clock) -> bool:
        begin, end = self._window(clock)
        step, period = clock.step, clock.at(self.every)
        return due(step, begin, end, period)

    @torch.no_grad()
    def _prune(self, clock: Clock) -> None:
        begin, end = self._window(clock)
        done = scheduled(clock.step, begin, end, initial=0.0, final=1.0)
        sums = self._gates.take([len(kept) for kept in self._kept], self._parts[0][1].weight.device)
        scores = mean_importance(sums, normalize=self.normalize)
        for score, kept in zip(scores, self._kept, strict=True):
            # What is removed stays removed, and the best of a layer stays.
            score[~kept] = -1.0
            score[score.argmax()] = torch.inf
        self._kept = self._chosen(scores, done)
        self._masks = {}
        for (rows, columns), kept in zip(self._parts, self._kept, strict=True):
            mask = kept.repeat_interleave(self._size).to(columns.weight.device)
            for linear in rows:
                self._masks[self._names[id(linear.weight)]] = mask[:, None]
                if linear.bias is not None:
                    self._masks[self._names[id(linear.bias)]] = mask
            self._masks[self._names[id(columns.weight)]] = mask[None, :]

    def _chosen(self, scores: list[Tensor], done: float) -> list[Tensor]:
        if self.ranking == "global":
            total = sum(len(score) for score in scores)
            removed = min((1 - self.keep) * done, 1 - len(scores) / total)
            best = keep_largest({str(i): score for i, score in enumerate(scores)}, removed, ranking="global")
            return [best[str(i)] for i in range(len(scores))]
        chosen: list[Tensor] = []
        for score in scores:
            left = max(self.multiple, round(self.keep * len(score) / self.multiple) * self.multiple)
            removed = max(0.0, 1 - left / len(score)) * done
            chosen.append(keep_largest({"": score}, removed, ranking="layer")[""])
        return chosen
