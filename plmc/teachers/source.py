"""Where a stage's teacher outputs come from: stored for all rows where that pays, else from a teacher that runs
along."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from plmc.config.resolve import Run
from plmc.console import Console
from plmc.core.rows import Split
from plmc.core.setting import Building
from plmc.core.stage import Stage
from plmc.errors import ConfigError
from plmc.heads.base import Head
from plmc.models import encoder, load
from plmc.teachers.cache import Wanted, look_up, stored
from plmc.teachers.live import Teacher, live
from plmc.teachers.make import FinetunedTeacher, reorder

AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
STORABLE = frozenset({"teacher.logits", "teacher.hidden_states"})


class TeacherSource:
    """The teachers of a run's stages: fine-tuned, pre-trained alone, or with a language model head."""

    def __init__(
        self,
        run: Run,
        *,
        device: torch.device,
        console: Console,
        finetuned: FinetunedTeacher | None,
        language_model: FinetunedTeacher | None,
    ):
        self.run, self.device, self.console = run, device, console
        self.finetuned, self.language_model = finetuned, language_model
        self._models: dict[str, Any] = {}
        self._attention: dict[str, str] = {}

    def model(self, stage: Stage, task):
        """The stage's teacher, frozen, loaded once a run."""
        which = _which(stage)
        if which not in self._models:
            if which == "mlm":
                model = load.load_finetuned(self.language_model.folder, task)
            elif which == "pretrained":
                model = load.build(self.run.teacher, self.run.task, seed=self.run.seed)
            else:
                model = load.load_finetuned(self.finetuned.folder, self.run.task)
                reorder(model, self.finetuned.order)
            self._attention[which] = model.config._attn_implementation
            self._models[which] = model.eval().requires_grad_(False).to(self.device)
        return self._models[which]

    def outputs(self, stage: Stage, task, chain, setting: Building, tokenizer) -> Teacher | None:
        """What the stage asks its teacher with; None where no method of `chain` looks at one. `setting` has the
        rows."""
        needs = chain.required()
        wanted = frozenset(need for need in needs if need.startswith("teacher."))
        if not wanted:
            return None
        run, head, train = self.run, task.head, setting.data.train
        model = self.model(stage, task)
        # As it was loaded: an earlier stage may have had it return scores, and if that stage was taken up, it has not.
        if model.config._attn_implementation != self._attention[_which(stage)]:
            model.set_attn_implementation(self._attention[_which(stage)])
        source = self.language_model if head.over_vocabulary else self.finetuned
        own = load.load_tokenizer(source.folder if source else run.teacher.name)
        same = load.same_vocabulary(own, tokenizer)
        if not same and wanted != {"teacher.logits"}:
            raise ConfigError(
                f"stage {stage.name} compares hidden states or attention maps, but teacher and student split text into "
                f"different tokens. Use a teacher of the student's vocabulary, or a recipe on logits such as kd."
            )
        rows = self._own_rows(stage, train, own, tokenizer, head)
        if chain.rewrites() and rows is not train:
            changers = ", ".join(method.name for method in chain if method.rewrites())
            raise ConfigError(
                f"stage {stage.name}: {changers} changes the tokens of a batch, which a teacher with a tokenizer of "
                "its own would not see. Use a teacher whose tokenizer is the student's."
            )
        storable = _which(stage) == "finetuned" and wanted <= STORABLE and not chain.rewrites()
        if storable and (not same or run.teacher.cache is not None):
            layers = tuple(sorted(chain.teacher_layers(setting))) if "teacher.hidden_states" in wanted else ()
            choice = Wanted(head, layers, run.teacher.cache or "fp32", AUTOCAST[run.precision])
            # Outputs of all rows pay off as soon as every row is visited once.
            if not same or (setting.clock.total * stage.batch_size >= len(train) and self._fits(choice, model, rows)):
                columns = stored(
                    model,
                    rows,
                    choice,
                    identity=self.finetuned.identity,
                    pad_id=own.pad_token_id,
                    cache=run.cache,
                    progress=self.console.each,
                    say=self.console.say,
                )
                return look_up(columns, rows, choice, layers=setting.teacher.layers)
        if "teacher.scores" in needs:
            from plmc.models.attention import use_scores

            use_scores(model)
        return live(model, needs, head, rows=None if rows is train else rows, pad_id=own.pad_token_id)

    def _own_rows(self, stage: Stage, train: Split, own, tokenizer, head: Head) -> Split:
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
        if stage.data == "corpus":
            from plmc.tasks.corpus import corpus

            rows = corpus(self.run, stage, own)
        else:
            rows = self.run.task.encode(train.raw, own, training=True, cache=self.run.cache)
        if same and not np.array_equal(rows.columns["input_ids"].values, train.columns["input_ids"].values):
            raise ConfigError(
                f"stage {stage.name}: teacher and student have one vocabulary, but make different tokens of the same "
                f"rows. Use a teacher whose tokenizer cuts long texts as the student's does."
            )
        return rows

    def _fits(self, choice: Wanted, model, rows: Split) -> bool:
        """Whether the outputs may be stored. It hangs on the config, not on what is free, so a resumed run decides the
        same."""
        size = choice.size(outputs=self.run.task.outputs, width=encoder.dims(model).width, split=rows)
        limit = self.run.teacher.cache_gb * 1e9
        if size > limit:
            smaller = " teacher.cache=fp16 halves it." if choice.dtype == "fp32" else ""
            self.console.say(
                f"the teacher's {choice.what} of {len(rows):,} rows would take {size / 1e9:.1f} GB, more than "
                f"teacher.cache_gb={self.run.teacher.cache_gb:g}: it runs along instead.{smaller}"
            )
            return False
        return True


def _which(stage: Stage) -> str:
    return "mlm" if stage.mlm is not None else stage.teacher
