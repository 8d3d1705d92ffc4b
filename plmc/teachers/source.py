"""Where a stage's teacher outputs come from: stored for all rows where that pays, else from a teacher that runs
along."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from plmc.config.resolve import Run
from plmc.console import Console
from plmc.core.chain import Chain
from plmc.core.rows import Split
from plmc.core.setting import Building
from plmc.core.stage import PRETRAINED, Stage
from plmc.errors import ConfigError
from plmc.heads.base import Head
from plmc.models import encoder, load
from plmc.models.attention import use_scores
from plmc.tasks.base import Task
from plmc.teachers.cache import Wanted, look_up, stored
from plmc.teachers.live import Live, Teacher
from plmc.teachers.make import Trained, key, reorder
from plmc.teachers.shard import refuse, spread
from plmc.teachers.spec import TeacherSpec
from plmc.world import here

AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
STORABLE = frozenset({"teacher.logits", "teacher.hidden_states"})


class TeacherSource:
    """The teachers of a run's stages."""

    def __init__(self, run: Run, *, device: torch.device, console: Console, trained: Mapping[str, Trained]):
        self.run, self.device, self.console = run, device, console
        self._trained = trained
        self._models: dict[str, Any] = {}
        self._attention: dict[str, str] = {}

    def model(self, stage: Stage, name: str) -> Any:
        """The stage's teacher of this name, frozen, loaded once a run."""
        task = self.run.task_of(stage)
        which = key(self.run, name, task)
        if which not in self._models:
            if name == PRETRAINED:
                model = load.build(self.run.teacher, task, seed=self.run.seed)
            else:
                trained = self._trained[which]
                model = load.load_finetuned(trained.folder, trained.task)
                reorder(model, trained.order)
            self._attention[which] = model.config._attn_implementation
            frozen: Any = model.eval().requires_grad_(False)
            self._models[which] = frozen if self._sharded(name) else frozen.to(self.device)
        return self._models[which]

    def _sharded(self, name: str) -> bool:
        return here().size > 1 and self.run.named_teachers().get(name, self.run.teacher).sharded

    def outputs(
        self, stage: Stage, chain: Chain, setting: Building, tokenizer: Any, again: Callable[[Any], Split]
    ) -> dict[str, Teacher]:
        """What the stage asks its teachers with, by name; empty where no method of `chain` looks at one.

        Args:
            setting: with the rows.
            tokenizer: the student's.
            again: the stage's rows as another tokenizer makes them.
        """
        if not any(need.startswith("teacher.") for need in chain.required()):
            return {}
        return {name: self._outputs(stage, name, chain, setting, tokenizer, again) for name in stage.teachers}

    def _outputs(
        self, stage: Stage, name: str, chain: Chain, setting: Building, tokenizer: Any, again: Callable[[Any], Split]
    ) -> Teacher:
        run, needs, train = self.run, chain.required(), setting.data.train
        wanted = frozenset(need for need in needs if need.startswith("teacher."))
        task = run.task_of(stage)
        head, which = task.head, key(run, name, task)
        model: Any = self.model(stage, name)
        # As it was loaded: an earlier stage may have had it return scores, and if that stage was taken up, it has not.
        if model.config._attn_implementation != self._attention[which]:
            model.set_attn_implementation(self._attention[which])
        trained = self._trained.get(which)
        own = load.load_tokenizer(trained.folder if trained else run.teacher.name)
        same = load.same_vocabulary(own, tokenizer)
        if not same and wanted != {"teacher.logits"}:
            raise ConfigError(
                f"stage {stage.name} compares hidden states or attention maps, but teacher and student split text into "
                f"different tokens. Use a teacher of the student's vocabulary, or a recipe on logits such as kd."
            )
        rows = self._own_rows(stage, train, own, tokenizer, head, again)
        if chain.rewrites() and rows is not train:
            changers = ", ".join(method.name for method in chain if method.rewrites())
            raise ConfigError(
                f"stage {stage.name}: {changers} changes the tokens of a batch, which a teacher with a tokenizer of "
                "its own would not see. Use a teacher whose tokenizer is the student's."
            )
        spec = run.named_teachers().get(name, run.teacher)
        # Logits over a vocabulary are too many, and other tokens are hidden in every batch.
        storable = trained is not None and not head.over_vocabulary and wanted <= STORABLE and not chain.rewrites()
        if self._sharded(name):
            refuse(head, name)
            if "teacher.scores" in needs:
                use_scores(model)
            spread(model, self.device, here())
            del self._models[which]  # whole for the next stage, whose methods may look at its weights
            return Live(
                model, needs, head, rows=None if rows is train else rows, pad_id=own.pad_token_id, together=True
            )
        if storable and (not same or spec.cache is not None):
            layers = tuple(sorted(chain.teacher_layers(setting))) if "teacher.hidden_states" in wanted else ()
            choice = Wanted(head, layers, spec.cache or "fp32", AUTOCAST[run.precision])
            # Outputs of all rows pay off as soon as every row is visited once.
            often = setting.clock.total * stage.batch_size >= len(train)
            if not same or (often and self._fits(choice, model, rows, task, spec)):
                columns = stored(
                    model,
                    rows,
                    choice,
                    identity=trained.identity,
                    pad_id=own.pad_token_id,
                    cache=run.cache,
                    progress=self.console.each,
                    say=self.console.say,
                )
                return look_up(columns, rows, choice, layers=encoder.dims(model).layers if layers else 0)
        if "teacher.scores" in needs:
            use_scores(model)
        return Live(model, needs, head, rows=None if rows is train else rows, pad_id=own.pad_token_id)

    def _own_rows(
        self, stage: Stage, train: Split, own: Any, tokenizer: Any, head: Head, again: Callable[[Any], Split]
    ) -> Split:
        """The stage's rows as the teacher's tokenizer `own` makes them; `train` itself where that is the same.

        Raises ConfigError if the tokens differ and the stage compares them one by one.
        """
        # The tokens are the labels, and a masked language model reads their ids alone.
        if head.over_vocabulary:
            return train
        same = load.same_vocabulary(own, tokenizer)
        if same and load.same_columns(own, tokenizer):
            return train
        if not same and head.per_token:
            raise ConfigError(
                "teacher and student split text differently, so answer positions do not match. "
                "Use a teacher of the student's vocabulary."
            )
        if not same:
            self.console.warn("teacher and student have different vocabularies; each reads with its own tokenizer.")
        rows = again(own)
        if len(rows) != len(train):
            raise ConfigError(
                f"stage {stage.name}: some method makes further rows out of its feeds, which a teacher with a "
                "tokenizer of its own cannot read. Use a teacher whose tokenizer is the student's."
            )
        if same and not np.array_equal(rows.columns["input_ids"].values, train.columns["input_ids"].values):
            raise ConfigError(
                f"stage {stage.name}: teacher and student have one vocabulary, but make different tokens of the same "
                f"rows. Use a teacher whose tokenizer cuts long texts as the student's does."
            )
        return rows

    def _fits(self, choice: Wanted, model: Any, rows: Split, task: Task, spec: TeacherSpec) -> bool:
        """Whether the outputs may be stored. It hangs on the config, not on what is free, so a resumed run decides the
        same."""
        size = choice.size(outputs=task.outputs, width=encoder.dims(model).width, split=rows)
        limit = spec.cache_gb * 1e9
        if size > limit:
            smaller = " teacher.cache=fp16 halves it." if choice.dtype == "fp32" else ""
            self.console.say(
                f"the teacher's {choice.what} of {len(rows):,} rows would take {size / 1e9:.1f} GB, more than "
                f"teacher.cache_gb={spec.cache_gb:g}: it runs along instead.{smaller}"
            )
            return False
        return True
