"""Methods that do one visible thing in every hook, and the settings around them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from plmc.core.clock import Clock
from plmc.core.method import Method
from plmc.core.setting import Building, Dims
from plmc.testing.stage import HEADS, building

CLOCK = Clock(step=3, total=10, steps_per_epoch=5)
SHAPE = Dims(layers=2, width=32, heads=4, intermediate=48, vocabulary=60)


def setting(**options) -> Building:
    return building(
        **{"stage": "main", "head": HEADS["classification"], "seed": 0, "student": SHAPE, "clock": CLOCK, **options}
    )


@dataclass
class Note(Method):
    """Appends its letter to whatever passes through it, and to `diary` where nothing does."""

    letter: str = "?"
    diary: list[str] = field(default_factory=list)
    stop: bool = False
    rank: int = 0

    @property
    def order(self) -> int:
        return self.rank

    def data(self, data, setting):
        return data + self.letter

    def prepare(self, model, setting):
        return model + self.letter

    def finish(self, model, setting):
        return model + self.letter

    def rate(self, factor, clock):
        # Not commutative, so the order shows.
        return 2 * factor + ord(self.letter)

    def weights(self, params, clock):
        return {name: value + self.letter for name, value in params.items()}

    def modules(self, setting):
        return nn.Linear(1, ord(self.letter) - ord("a") + 1) if self.letter != "n" else None

    @contextmanager
    def scope(self, model, clock):
        self.diary.append(f"+{self.letter}")
        try:
            yield
        finally:
            self.diary.append(f"-{self.letter}")

    def terms(self, clock=None):
        return {"one": 1.0, "two": 2.0}

    def losses(self, view, clock):
        return {"one": torch.tensor(float(ord(self.letter)))}

    def gradient(self, compute, params):
        self.diary.append(f"+{self.letter}")
        loss = compute()
        self.diary.append(f"-{self.letter}")
        return loss + ord(self.letter)

    def batch(self, batch, rng, clock):
        return f"{batch}{self.letter}{rng}{clock.step}"

    def observe(self, view, clock):
        self.diary.append(f"{self.letter}:{view}")

    def sync(self, model, clock, join):
        self.diary.append(f"{self.letter}-{clock.step}-{join}")

    def after_update(self, model, clock):
        self.diary.append(f"{self.letter}{clock.step}")

    def after_eval(self, metrics, clock):
        self.diary.append(f"{self.letter}{metrics['accuracy']}")
        return self.stop

    def metrics(self):
        return {"letter": float(ord(self.letter))}

    def state_dict(self):
        return {"letter": self.letter}

    def load_state_dict(self, state):
        self.letter = state["letter"]


@dataclass
class Declares(Method):
    """Declares what it is told to: needs, roles, options of the optimizer, and when it is settled."""

    asks: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    options: dict = field(default_factory=dict)
    quiet_from: int = 0

    @property
    def exclusive(self):
        return self.roles

    def required(self):
        return self.asks

    def groups(self, name, param):
        return self.options

    def settled(self, clock):
        return self.quiet_from
