"""Every method, one row each: what the suite in `plmc.testing.methods` needs to know of it, and nothing else."""

from __future__ import annotations

from pathlib import Path

from plmc.methods.adapt.adapter import Adapter
from plmc.methods.adapt.bitfit import BitFit
from plmc.methods.adapt.lora import LoRA
from plmc.methods.adapt.prefix import Prefix
from plmc.methods.augment.word_replace import Augment
from plmc.methods.average.swa import SWA
from plmc.methods.distill.layers_kd import LayersKD
from plmc.methods.distill.logit_kd import LogitKD
from plmc.methods.distill.prediction_kd import PredictionKD
from plmc.methods.distill.task_loss import TaskLoss
from plmc.methods.layers.layer_drop import LayerDrop
from plmc.methods.mlm.cosine_kd import CosineKD
from plmc.methods.mlm.head_only import HeadOnly
from plmc.methods.perturb.hype import HyPe
from plmc.methods.prune.ffn import FFNPruning
from plmc.methods.prune.gmp import GMP
from plmc.methods.prune.gmp_lrr import GMPRewind
from plmc.methods.prune.heads import HeadPruning
from plmc.methods.prune.lock import PatternLock
from plmc.methods.prune.vocabulary import VocabularyTrim
from plmc.methods.quant.qat import QAT
from plmc.methods.sharpness.delta_sam import DeltaSAM
from plmc.methods.sharpness.sam import SAM
from plmc.testing.methods import STEPS, Row

# All the words that the tokenizer of the suite knows; the student's table has rows beyond them.
WORDS = str(Path(__file__).parent / "words.txt")

ROWS = (
    Row("task_loss", TaskLoss),
    Row("kd", LogitKD),
    Row("layers_kd", lambda: LayersKD(projection="always"), off=lambda: LayersKD(attention=0, hidden=0, embedding=0)),
    Row(
        "layers_kd_code",
        lambda: LayersKD(mode="official_code"),
        off=lambda: LayersKD(attention=0, hidden=0, embedding=0),
    ),
    Row("prediction_kd", PredictionKD),
    Row("augment", lambda: Augment(p=0.5, n=1, k=3), off=lambda: Augment(kinds=())),
    Row("gmp", lambda: GMP(every=1), off=lambda: GMP(initial=0, final=0)),
    Row("gmp_cycle", lambda: GMP(every=1, cycle="25%", reintroduction=True), off=lambda: GMP(initial=0, final=0)),
    Row("one_shot", lambda: GMP(begin="50%", end="50%"), off=lambda: GMP(begin="50%", end="50%", initial=0, final=0)),
    Row("gmp_lrr", lambda: GMPRewind(every=1, last="60%"), off=lambda: GMPRewind(initial=0, final=0, rewind=None)),
    Row("lock", PatternLock),
    Row("lock_pooler", lambda: PatternLock(pooler=True)),
    Row("cosine_kd", CosineKD, off=lambda: CosineKD(weight=0)),
    Row("head_only", HeadOnly),
    Row("lora", LoRA, tolerance=1e-5),
    Row("lora_all", lambda: LoRA(rank=2, targets="all", dropout=0.1, head=False), tolerance=1e-5),
    Row("adapter", lambda: Adapter(size=4), edits=True),
    Row(
        "adapter_feed_forward",
        lambda: Adapter(size=2, after="feed_forward", activation="relu", norms=False),
        edits=True,
    ),
    Row("prefix", lambda: Prefix(length=3), edits=True),
    Row("bitfit", BitFit),
    Row("bitfit_few", lambda: BitFit(biases="query_and_intermediate", head=False)),
    Row("swa", SWA, off=lambda: SWA(begin=STEPS - 1)),
    Row("sam", SAM, off=lambda: SAM(rho=0)),
    Row("asam", lambda: SAM(rho=0.5, adaptive=True), off=lambda: SAM(rho=0, adaptive=True)),
    Row("delta_sam", lambda: DeltaSAM(radius=1.0), off=lambda: DeltaSAM(rho=0, weighting="uniform")),
    Row("hype", lambda: HyPe(sigma=1e-2), off=lambda: HyPe(sigma=0, hidden_dropout=None)),
    Row("hype_control", lambda: HyPe(sigma=0), off=lambda: HyPe(sigma=0, hidden_dropout=None)),
    Row("layer_drop", lambda: LayerDrop(strategy="top", k="half"), off=lambda: LayerDrop(strategy="top", k=0)),
    Row("layer_drop_by_contribution", lambda: LayerDrop(strategy="contribution", k=1), off=lambda: LayerDrop(drop=[])),
    # Exported models compute activations in full precision, cut ones sum fewer numbers.
    Row("qat", QAT, off=lambda: QAT(start="100%"), tolerance=0.05),
    Row(
        "qat_ranges", lambda: QAT(scheme="prune_ofa", start=2, freeze=6), off=lambda: QAT(start="100%"), tolerance=0.05
    ),
    Row("head_prune", lambda: HeadPruning(every=1), off=lambda: HeadPruning(keep=1.0), tolerance=1e-5),
    Row(
        "ffn_prune",
        lambda: FFNPruning(every=1, multiple=1, ranking="global"),
        off=lambda: FFNPruning(keep=1.0),
        tolerance=1e-5,
    ),
    Row("vocab_trim", lambda: VocabularyTrim(corpus=WORDS), off=lambda: VocabularyTrim(min_count=0)),
)
