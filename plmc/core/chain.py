"""Many methods are one method: the laws of composition, nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, Any

from plmc.core.clock import BEGINNING
from plmc.core.compute import Wrapped
from plmc.core.method import Join, Method
from plmc.errors import ConfigError
from plmc.names import as_keys

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from torch import Tensor, nn

    from plmc.core.batch import Batch
    from plmc.core.clock import Clock
    from plmc.core.compute import Compute
    from plmc.core.rows import TaskData
    from plmc.core.setting import Building, Dims, Setting
    from plmc.core.view import View


class Chain(Method):
    """The methods of a stage as one `Method`. Names are unique; order is the listed order."""

    def __init__(self, methods: Mapping[str, Method]):
        super().__init__(name="chain")
        for key, method in methods.items():
            method.name = key
        self._methods = dict(methods)

    def __iter__(self) -> Iterator[Method]:
        return iter(self._methods.values())

    def __len__(self) -> int:
        return len(self._methods)

    def __getitem__(self, name: str) -> Method:
        return self._methods[name]

    def __contains__(self, name: str) -> bool:
        return name in self._methods

    @property
    def named(self) -> dict[str, Method]:
        """The methods by name, listed order."""
        return dict(self._methods)

    def _by_order(self, *, reverse: bool = False) -> list[Method]:
        # Sorting is stable, so the listed order decides among equals; a reversed fold reverses that, too.
        ordered = sorted(self, key=lambda m: m.order)
        return ordered[::-1] if reverse else ordered

    # Declarations: union.
    def required(self) -> frozenset[str]:
        return frozenset().union(*(m.required() for m in self))

    def teacher_layers(self, setting: Setting) -> frozenset[int]:
        return frozenset().union(*(m.teacher_layers(setting) for m in self))

    def terms(self, clock: Clock = BEGINNING) -> dict[str, float]:
        return {f"{m.name}/{k}": w for m in self for k, w in m.terms(clock).items()}

    def dims_after(self, before: Dims) -> Dims:
        # Where only data can tell, the shape before is the best guess.
        for method in self:
            with _by_name(method):
                before = method.dims_after(before) or before
        return before

    def check(self, setting: Setting) -> None:
        # Hidden states and blocks are those of the prepared student, wherever the method that cuts it is listed.
        setting = replace(setting, student=self.dims_after(setting.student))
        # Roles first: a method's message about another one of its role would mislead.
        holders: dict[str, str] = {}
        for method in self:
            for role in sorted(method.exclusive):
                if role in holders:
                    raise ConfigError(
                        f"stage {setting.stage}: {holders[role]} and {method.name} both want the role '{role}', which "
                        f"only one method of a stage can hold. Remove one: ~methods.{method.name}"
                    )
                holders[role] = method.name
        for method in self:
            learns = any(need.startswith("teacher.") for need in method.required())
            if learns and (setting.teacher is None or not setting.teachers):
                raise ConfigError(
                    f"stage {setting.stage}: {method.name} learns from a teacher, but there is none. "
                    f"Name one (teacher=bert-base), or remove the method."
                )
            if learns and len(setting.teachers) > 1 and not method.several_teachers:
                raise ConfigError(
                    f"stage {setting.stage}: {method.name} compares with one teacher, and the stage has "
                    f"{len(setting.teachers)}: {', '.join(setting.teachers)}. Name one: "
                    f"recipe.stages.{setting.stage}.teachers={setting.teachers[0]}"
                )
            whole = next((other.name for other in self if not other.by_row and other.terms()), None)
            if whole and "examples" in method.required():
                raise ConfigError(
                    f"stage {setting.stage}: {method.name} asks for the loss of each row, and {whole} compares the "
                    f"rows of a batch as a whole. Remove one: ~methods.{method.name}"
                )
            with _by_name(method):
                method.check(setting)

    def settled(self, clock: Clock) -> int:
        return max((m.settled(clock) for m in self), default=0)

    # Folds.
    def data(self, data: TaskData, setting: Building) -> TaskData:
        return reduce(lambda value, m: m.data(value, setting), self, data)

    def prepare(self, model: nn.Module, setting: Building) -> nn.Module:
        return reduce(lambda value, m: m.prepare(value, setting), self, model)

    def batch(self, batch: Batch, rng: np.random.Generator, clock: Clock) -> Batch:
        return reduce(lambda value, m: m.batch(value, rng, clock), self, batch)

    def rewrites(self) -> bool:
        return any(m.rewrites() for m in self)

    def rate(self, factor: float, clock: Clock) -> float:
        return reduce(lambda value, m: m.rate(value, clock), self, factor)

    def weights(self, params: Mapping[str, Tensor], clock: Clock) -> Mapping[str, Tensor]:
        return reduce(lambda value, m: m.weights(value, clock), self._by_order(reverse=True), params)

    def finish(self, model: nn.Module, setting: Building) -> nn.Module:
        return reduce(lambda value, m: m.finish(value, setting), self._by_order(reverse=True), model)

    def tokenizer(self, tokenizer: Any) -> Any:
        return reduce(lambda value, m: m.tokenizer(value), self._by_order(reverse=True), tokenizer)

    # Unions.
    def modules(self, setting: Building) -> nn.ModuleDict:
        from torch import nn

        built = {m.name: m.modules(setting) for m in self}
        return nn.ModuleDict({name: module for name, module in built.items() if module is not None})

    def trains(self, name: str, param: nn.Parameter) -> bool:
        return any(m.trains(name, param) for m in self)

    def claims(self) -> bool:
        return any(m.claims() for m in self)

    def groups(self, name: str, param: nn.Parameter) -> dict[str, Any]:
        options: dict[str, Any] = {}
        givers: dict[str, str] = {}
        for method in self:
            for key, value in method.groups(name, param).items():
                if key in options:
                    raise ConfigError(
                        f"{givers[key]} and {method.name} both set the optimizer option '{key}' of {name}. Remove one "
                        "of them."
                    )
                options[key], givers[key] = value, method.name
        return options

    def losses(self, view: View, clock: Clock) -> dict[str, Tensor]:
        return {f"{m.name}/{k}": v for m in self for k, v in m.losses(view, clock).items()}

    def metrics(self) -> dict[str, float]:
        return {f"{m.name}/{k}": v for m in self for k, v in m.metrics().items()}

    def state_dict(self) -> dict[str, Any]:
        return {m.name: m.state_dict() for m in self}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for method in self:
            method.load_state_dict(state[method.name])

    # Nest and wrap: the first listed is outermost.
    @contextmanager
    def scope(self, model: nn.Module, clock: Clock) -> Iterator[None]:
        with ExitStack() as stack:
            for method in self:
                stack.enter_context(method.scope(model, clock))
            yield

    def gradient(self, compute: Compute, params: list[nn.Parameter]) -> Tensor:
        for method in reversed(list(self)):
            compute = Wrapped(method, compute, params)
        return compute()

    # Sequences.
    def observe(self, view: View, clock: Clock) -> None:
        for method in self._by_order():
            method.observe(view, clock)

    def leave(self, folder: Path, base: str) -> None:
        for method in self:
            method.leave(folder, base)

    def sync(self, model: nn.Module, clock: Clock, join: Join) -> None:
        for method in self._by_order():
            method.sync(model, clock, join)

    def after_update(self, model: nn.Module, clock: Clock) -> None:
        for method in self._by_order():
            method.after_update(model, clock)

    def after_eval(self, metrics: Mapping[str, float], clock: Clock) -> bool:
        # A list, not a generator: every method must see every evaluation.
        return any([method.after_eval(metrics, clock) for method in self])


@contextmanager
def _by_name(method: Method) -> Iterator[None]:
    """Inside, a refusal names the method's fields by the keys that are typed: a method knows its fields, not its
    place."""
    try:
        yield
    except ConfigError as error:
        fields = getattr(method, "__dataclass_fields__", ())
        raise ConfigError(as_keys(str(error), fields, f"methods.{method.name}")) from error
