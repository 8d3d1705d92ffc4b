"""The training loop of one stage. Read it top to bottom.

for every update:
    batch    -> this process's micro-batches of it
    gradient -> chain.gradient(compute): forward, weighted loss, backward over all micro-batches of all processes
    clip     -> joint norm of all trained parameters
    step     -> learning rate (schedule, then chain.rate), optimizer
    after    -> chain.sync, chain.after_update
    on the evaluation cadence: judged weights -> metrics -> best, chain.after_eval
    on the checkpoint cadence: everything a bitwise continuation needs

With several processes all of them hold the same weights and take the same steps; what they decide by a clock or a
signal they decide together, and the first one writes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plmc.core.batch import Batch
from plmc.core.clock import Clock
from plmc.core.points import parse_point
from plmc.core.rows import Split
from plmc.errors import DamagedCheckpoint, TrainingError
from plmc.training import checkpoint, memory, together
from plmc.training.alarms import Update, idle_terms, largest_weights, read_scalars
from plmc.training.batches import Share, training_batches
from plmc.training.compute import Computed
from plmc.training.embedding import RowGradient, row_gradients
from plmc.training.evaluate import judged
from plmc.training.interrupt import deferred
from plmc.training.objective import Objective
from plmc.training.optimizer import build_optimizer, clip, rate_factor, set_rate
from plmc.training.plan import Judge, Plan, Saving
from plmc.training.progress import Outcome, Position, Progress
from plmc.training.scale import LossScale
from plmc.training.trained import freeze, unfreeze
from plmc.world import here

BATCH_STREAM = 1
"""Sets what `Method.batch` draws apart from other draws of the same update."""


class Trainer:
    """Trains `objective` on `split` for one stage and leaves the kept weights in the student.

    Without a `judge` there is no evaluation, and the last weights are kept. `pad_id` is that of the tokenizer; `device`
    is where the student already is.
    """

    def __init__(
        self,
        objective: Objective,
        split: Split,
        plan: Plan,
        saving: Saving,
        *,
        judge: Judge | None = None,
        device: torch.device | None = None,
        pad_id: int = 0,
        progress: Progress | None = None,
    ):
        self.objective, self.split, self.plan, self.saving, self.judge = objective, split, plan, saving, judge
        self.student, self.chain, self.stage, self.clock = objective.student, objective.chain, plan.stage, plan.clock
        self.device, self.pad_id = device or torch.device("cpu"), pad_id
        self.progress = progress or Progress()
        self.at, self.world = Position(), here()
        self._unclaimed = freeze(self.student, self.chain)
        self.params = [p for p in objective.parameters() if p.requires_grad]
        self.optimizer = build_optimizer(objective, self.chain, self.stage)
        self.schedule = rate_factor(self.stage, self.clock)
        self.scale = LossScale(plan.precision)
        self._rows: RowGradient | None = None
        self._pending: list[Update] = []
        self._meter = (0, 0.0)  # samples and time since the last log line
        self._saved_at = time.monotonic()
        every, unit = parse_point(self.stage.eval_every)
        self.eval_every = max(1, self.clock.at(self.stage.eval_every) if unit != "step" else int(every))

    def fit(self) -> Outcome:
        """Runs the stage from its checkpoint, if there is one, to its end. Ctrl-C and SIGTERM leave a checkpoint."""
        try:
            return self._fit()
        finally:
            unfreeze(self._unclaimed)

    def _fit(self) -> Outcome:
        together.own_noise(self.world, self.plan.seed, self.plan.index)
        self._resume()
        self.saving.folder.mkdir(parents=True, exist_ok=True)
        together.compare(self.objective, self.world, f"stage {self.stage.name} begins")
        before = self.student.training
        batches = training_batches(
            self.split,
            batch_size=self.stage.batch_size,
            micro_batch=self.stage.micro_batch,
            pad_id=self.pad_id,
            seed=self.plan.seed,
            stage=self.plan.index,
            start=self.at.step,
            mix=self.plan.mix,
            change=self._change if self.chain.rewrites() else None,
            world=self.world,
            evenly="padding" in self.chain.required(),
        )
        self.objective.train()
        self._meter = (self.at.samples, time.perf_counter())
        # A loss scale may leave NaN in rows that no token uses; another process may use other rows.
        by_row = not (self.scale.on or self.world.size > 1 or "dense_gradient" in self.chain.required())
        with deferred() as interrupted, row_gradients(self.student, by_row) as self._rows:
            while self.at.step < self.clock.total and not self.at.stopped:
                started = time.perf_counter()
                share = next(batches)
                self._update(replace(share, parts=[batch.to(self.device) for batch in share.parts]))
                memory.trim(self.at.step)
                self.at.seconds += time.perf_counter() - started
                last = self.at.step == self.clock.total
                if self.at.step % self.progress.every == 0 or last:
                    if not self.saving.folder.is_dir():
                        raise TrainingError(
                            f"{self.saving.folder} is gone: somebody removed or moved the run while it trained."
                        )
                    self._log()
                if self.judge and (self.at.step % self.eval_every == 0 or last):
                    self._evaluate(self.judge)
                stop, due = together.decided(self.world, interrupted(), self._checkpoint_due())
                if not last and (stop or due):
                    self._save()
                if stop:
                    raise stop
        self.student.train(before)
        outcome = self._end()
        together.compare(self.objective, self.world, f"stage {self.stage.name} ends")
        return outcome

    # One update.

    def _now(self) -> Clock:
        return replace(self.clock, step=self.at.step)

    def _change(self, batch: Batch, update: int) -> Batch:
        # A stream of its own: the order of rows and the tokens to guess draw from other ones.
        rng = np.random.default_rng([self.plan.seed, self.plan.index, update, BATCH_STREAM])
        return self.chain.batch(batch, rng, replace(self.clock, step=update))

    def _zero(self) -> None:
        if self._rows:
            self._rows.zero()
        self.optimizer.zero_grad(set_to_none=True)

    def _update(self, share: Share) -> None:
        clock = self._now()
        compute = Computed(
            self.objective,
            share,
            clock,
            params=self.params,
            zero=self._zero,
            scale=self.scale,
            world=self.world,
            check=self._find_idle_terms if self.at.step == 0 else None,
        )
        loss = self.chain.gradient(compute, self.params)
        terms = {**compute.terms, "loss": loss}
        norm = None
        if self.stage.clip or self.scale.on:
            norm = clip(self.optimizer, self.params, self.stage.clip)
        if self.scale.accepts(norm):
            factor = self.chain.rate(self.schedule(self.at.step), clock)
            set_rate(self.optimizer, factor)
            self.optimizer.step()
        self.at.step += 1
        self.at.samples += compute.rows
        self.chain.sync(self.student, clock, self.world.join)
        self.chain.after_update(self.student, self._now())
        if norm is not None:
            terms["grad_norm"] = norm.detach()
        self._pending.append(Update(self.at.step, terms, share.ids))

    # Telling.

    def _find_idle_terms(self, terms: Mapping[str, torch.Tensor]) -> None:
        weights = largest_weights(self.chain.terms, self.clock)
        idle_terms(terms, weights, self.params, stage=self.stage.name, warn=self._warn)

    def _warn(self, text: str) -> None:
        self.at.warnings.append(text)
        self.progress.warn(text)

    def _log(self) -> None:
        """Reads and checks the scalars of all updates since the last call, and tells those of the last one."""
        if not self._pending:
            return
        read = read_scalars(self._pending, stage=self.stage.name, overflow_is_handled=self.scale.on)
        step = self._pending[-1].step
        values = {name if name in ("loss", "grad_norm") else f"loss/{name}": value for name, value in read.items()}
        values["lr"] = self.optimizer.param_groups[0]["lr"]
        samples, since = self._meter
        now = time.perf_counter()
        if now > since and self.at.samples > samples:
            values["samples_per_s"] = (self.at.samples - samples) / (now - since)
        self._meter = (self.at.samples, now)
        values["epoch"] = self._now().epoch
        values |= self.chain.metrics()
        self._pending.clear()
        self.progress.log(values, self.plan.first_step + step)
        self.progress.advance(step, values)

    # Judging.

    def _evaluate(self, judge: Judge) -> None:
        self._log()
        with judged(self.student, self.chain, self._now()):
            metrics = self._metrics(judge)
            value = metrics[judge.metric]
            # A score from before the last mask would be kept without the masks that were to come.
            settled = self.at.step >= self.chain.settled(self.clock)
            better = settled and value > self.at.best
            if better or not settled or self.stage.select == "last":
                self._keep(metrics)
        if better:
            self.at.best = value
        self.at.stale = 0 if better or not settled else self.at.stale + 1
        self.progress.log({f"eval/{name}": v for name, v in metrics.items()}, self.plan.first_step + self.at.step)
        self.progress.advance(self.at.step, {f"eval/{judge.metric}": value})
        stop = self.chain.after_eval(metrics, self._now())
        if self.stage.patience is not None and self.at.stale >= self.stage.patience:
            stop = True
        self.at.stopped = self.at.stopped or stop

    def _metrics(self, judge: Judge) -> dict[str, float]:
        # Plain numbers: a checkpoint holds no other ones.
        metrics = {name: float(v) for name, v in judge.evaluate(self.student).items()}
        if math.isnan(metrics[judge.metric]):
            raise TrainingError(f"stage {self.stage.name}, update {self.at.step}: {judge.metric} is not a number.")
        return metrics

    def _keep(self, metrics: dict[str, float]) -> None:
        self.at.best_step, self.at.best_metrics = self.at.step, metrics
        if self.stage.select == "best" and self.world.first:
            state = {k: v.detach().cpu() for k, v in self.student.state_dict().items()}
            checkpoint.save(self.saving.folder / "best.pt", state, signature=self.saving.signature)

    def _end(self) -> Outcome:
        """Leaves the kept weights in the student: the best judged ones, or those that the methods end with."""
        self._log()
        self.world.wait()  # for the weights that the first process writes
        if self.judge and self.stage.select == "best":
            best = checkpoint.load(self.saving.folder / "best.pt", signature=self.saving.signature)
            self.student.load_state_dict(best)
        else:
            with torch.no_grad():
                live = {name: param.detach() for name, param in self.student.named_parameters()}
                judged_last = self.chain.weights(live, self._now())
                result = self.chain.weights(live, replace(self._now(), done=True))
                other = any(not torch.equal(value, judged_last[name]) for name, value in result.items())
                for name, value in result.items():
                    if value is not live[name]:
                        live[name].copy_(value)
            if other and self.judge:
                self.at.best_metrics = self._metrics(self.judge)
        return Outcome(
            metrics=self.at.best_metrics,
            best_step=self.at.best_step,
            steps=self.at.step,
            seconds=self.at.seconds,
            samples=self.at.samples,
            trained_parameters=sum(param.numel() for param in self.params),
        )

    # Continuing.

    def _checkpoint_due(self) -> bool:
        if self.saving.steps:
            return self.at.step % self.saving.steps == 0
        return self.saving.seconds > 0 and time.monotonic() - self._saved_at >= self.saving.seconds

    def _save(self) -> None:
        if (
            self._pending
        ):  # a non-finite loss must not reach the disk; no point of a curve, whose steps the clock would choose
            read_scalars(self._pending, stage=self.stage.name, overflow_is_handled=self.scale.on)
            self._pending.clear()
        state: dict[str, Any] = {
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "methods": self.chain.state_dict(),
            "position": dict(vars(self.at)),
            "scale": self.scale.state_dict(),
            "random": self.world.gather(checkpoint.random_state()),
            "data": self.split.fingerprint,
        }
        if self.world.first:
            checkpoint.save(self.saving.folder / "checkpoint.pt", state, signature=self.saving.signature)
        self._saved_at = time.monotonic()

    def _resume(self) -> None:
        path = self.saving.folder / "checkpoint.pt"
        state = self.world.ahead(lambda: self._saved(path))
        if state is None:
            return
        if state["data"] != self.split.fingerprint:
            raise TrainingError(
                f"{path} was made with other training rows than there are now. Put the old data back, or start again: "
                f"rm -r '{self.saving.folder.parent.parent}'"
            )
        made_by = state["random"] if isinstance(state["random"], list) else [state["random"]]  # before there were many
        if len(made_by) != self.world.size:
            raise TrainingError(
                f"{path} was made by {len(made_by)} processes, and there are {self.world.size} now, which would draw "
                f"other dropout. Give the same command with processes={len(made_by)}, or start the stage again: "
                f"rm '{path}'"
            )
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.chain.load_state_dict(state["methods"])
        self.at = Position(**state["position"])
        self.scale.load_state_dict(state["scale"])
        checkpoint.restore_random(made_by[self.world.rank])
        for text in self.at.warnings:
            self.progress.warn(text)
        self.progress.advance(self.at.step, {})

    def _saved(self, path: Path) -> dict[str, Any] | None:
        """What a checkpoint holds; None where there is none, or a damaged one, which is set aside."""
        if not path.is_file():
            return None
        try:
            state = checkpoint.load(path, signature=self.saving.signature)
            if state["position"]["best_metrics"] and self.stage.select == "best":
                # Found at the end of the stage only, it would cost all of it.
                checkpoint.verify(self.saving.folder / "best.pt")
        except DamagedCheckpoint as error:
            self._warn(
                f"{str(error).removesuffix(' The same command trains this stage again.')} The stage begins again."
            )
            checkpoint.set_aside(path)
            return None
        return state
