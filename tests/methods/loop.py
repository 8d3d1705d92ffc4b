"""The smallest loop that honours every hook, so that a method can be tested without the trainer."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from transformers import BertConfig, BertForSequenceClassification

from plmc.core.chain import Chain
from plmc.core.clock import Clock
from plmc.core.setting import Building
from plmc.models.encoder import dims
from plmc.testing.stage import HEADS, building
from plmc.world import World


def tiny(seed: int = 0, **options) -> BertForSequenceClassification:
    torch.manual_seed(seed)
    sizes = dict(hidden_size=32, num_hidden_layers=4, num_attention_heads=4, intermediate_size=64, vocab_size=100)
    return BertForSequenceClassification(BertConfig(**{**sizes, "max_position_embeddings": 32, **options}))


def batch(step: int, rows: int = 4, tokens: int = 8) -> dict[str, torch.Tensor]:
    source = torch.Generator().manual_seed(1000 + step)
    ids = torch.randint(1, 100, (rows, tokens), generator=source)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids[:, 0] % 2}


@dataclass
class Run:
    chain: Chain
    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    total: int
    step: int = 0
    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    history: list[dict[str, torch.Tensor]] = field(default_factory=list)

    def judged(self) -> dict[str, torch.Tensor]:
        return dict(
            self.chain.weights(
                {name: p.detach() for name, p in self.model.named_parameters()}, Clock(self.step, self.total, 10)
            )
        )

    def state(self) -> dict:
        weights = {name: value.clone() for name, value in self.model.state_dict().items()}
        optimizer = self.optimizer.state_dict()
        optimizer["state"] = {key: {k: v.clone() for k, v in s.items()} for key, s in optimizer["state"].items()}
        rng = torch.get_rng_state()
        return dict(step=self.step, model=weights, optimizer=optimizer, chain=self.chain.state_dict(), rng=rng)

    def load(self, state: dict) -> None:
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.chain.load_state_dict(state["chain"])
        torch.set_rng_state(state["rng"])

    def go(self, until: int | None = None, base: float = 1e-3) -> Run:
        params = list(self.model.parameters())
        self.model.train()
        while self.step < (self.total if until is None else until):
            clock = Clock(self.step, self.total, 10)
            rate = self.chain.rate(1 - self.step / self.total, clock)
            self.optimizer.param_groups[0]["lr"] = base * rate

            def compute(clock=clock):
                self.optimizer.zero_grad()
                with self.chain.scope(self.model, clock):
                    loss = self.model(**batch(clock.step)).loss
                loss.backward()
                return loss.detach()

            self.losses.append(self.chain.gradient(compute, params).item())
            self.rates.append(rate)
            self.optimizer.step()
            self.step += 1
            self.chain.sync(self.model, clock, World().join)
            self.chain.after_update(self.model, Clock(self.step, self.total, 10))
            self.history.append({name: p.detach().clone() for name, p in self.model.named_parameters()})
        return self


def setting(model=None, *, total: int = 20, **options) -> Building:
    given = dict(
        stage="main", head=HEADS["classification"], seed=0, student=dims(model or tiny()), clock=Clock(0, total, 10)
    )
    return building(**{**given, **options})


def start(methods: dict | None = None, *, total: int = 20, seed: int = 0, model=None, **options) -> Run:
    """Checked and prepared, ready to `go`."""
    model = tiny(seed) if model is None else model
    chain = Chain(methods or {})
    around = setting(model, total=total, methods=chain.named, **options)
    chain.check(around)
    model = chain.prepare(model, around)
    torch.manual_seed(seed)
    return Run(chain, model, torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1), total)


def equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
