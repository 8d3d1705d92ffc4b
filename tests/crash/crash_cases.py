"""What is killed: every recipe with tiny random models, on made-up rows."""

from __future__ import annotations

from pathlib import Path


def _plain_text(stage: str) -> list[str]:
    """A stage on made-up text, in rows that the tiny models can read."""
    at = f"recipe.stages.{stage}"
    return [f"{at}.task.corpus=embedded", f"{at}.task.rows=200", f"+{at}.task.max_length=64"]


RECIPES: dict[str, list[str]] = {
    "finetune": [],
    "kd": [],
    "tinybert": [],
    "tinybert_code": [],
    "tinybert_general": [
        "recipe.stages.general.feeds.text.corpus=embedded",
        "recipe.stages.general.feeds.text.rows=60",
    ],
    "layer_drop": [],
    "intermediate": ["recipe.stages.source.task={_target_: plmc.tasks.glue.Glue, name: mnli, max_length: 64}"],
    "swa": [],
    "hype": [],
    "hype_control": [],
    "bitfit": [],
    "adapter": [],
    "prefix": [],
    "lora": [],
    "sam": [],
    "delta_sam": [],
    "gmp_star": [],
    "gmp_obert": [],
    "one_shot": [],
    "qat": [],
    "q8bert": [],
    "structured": [],
    "prune_ofa": _plain_text("prepare"),
    "prune_ofa_85": _plain_text("prepare"),
    "prune_ofa_transfer": [],
    "distilbert": _plain_text("distil"),
    "tinybert+gmp+swa+hype+sam": ["method=[gmp,swa,hype,sam]"],
}
# A model without a language model head makes augmentation fall back on the teacher's embeddings.
BARE = ("tinybert", "tinybert_general", "prune_ofa")
# These two fine-tune the two teachers.
MAKERS = ("kd", "tinybert")
STEPS = 14


def words(case: str, models: Path, output: Path) -> list[str]:
    """The overrides of one case: 14 updates a stage, a checkpoint every third."""
    recipe = case.split("+")[0]
    teacher = models / ("bare" if recipe in BARE else "with-head")
    given = [
        "task=sst2",
        "data=embedded",
        "data.train_rows=200",
        "data.validation_rows=48",
        "data.test_rows=8",
        "threads=1",
        "device=cpu",
        "precision=fp32",
        f"recipe={recipe}",
        "teacher=base",
        f"teacher.name={teacher}",
        "teacher.epochs=1",
        "student=base",
        f"student.name={teacher}",
        "student.layers=[0,3]",
        f"budget.steps={STEPS}",
        "train.batch_size=16",
        "train.lr=1e-3",
        "train.eval_every=30%",
        "checkpoint.steps=3",
        "log_every=2",
        "latency_rows=3",
        f"output_dir={output}",
    ]
    if recipe.startswith("tinybert"):
        given += [f"recipe.stages.{stage}.methods.augment.n=2" for stage in ("intermediate", "prediction")]
    return given + RECIPES[case]


def make_models(folder: Path) -> None:
    """Two random BERTs of 4 layers and width 32 with a tokenizer of the made-up world's words."""
    import torch
    from transformers import BertConfig, BertForMaskedLM, BertModel, BertTokenizerFast

    from plmc.data.embedded import Embedded

    text = " ".join(Embedded(name="embedded").corpus(400)).lower()
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,?!'-"
    known = sorted({word for word in text.split() if word.isalpha()})[:300]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *known, *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = BertTokenizerFast(vocab=vocabulary, do_lower_case=True, model_max_length=64)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=66,
    )
    for name, kind in (("bare", BertModel), ("with-head", BertForMaskedLM)):
        torch.manual_seed(0)
        kind(config).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
