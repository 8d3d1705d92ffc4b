"""What the papers found, on a language that tiny models master: orders between methods at equal numbers of updates."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_mlm_methods import V, lm, updates
from test_sparse_language_model import LENGTH, SPECIAL, TOPICS, WORDS
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from plmc.core.rows import Ragged, Split
from plmc.data.masking import Masking
from plmc.methods.average.swa import SWA
from plmc.methods.distill.layers_kd import LayersKD
from plmc.methods.distill.logit_kd import LogitKD
from plmc.methods.distill.prediction_kd import PredictionKD
from plmc.methods.distill.task_loss import TaskLoss
from plmc.methods.layers.layer_drop import LayerDrop
from plmc.methods.mlm.cosine_kd import CosineKD
from plmc.methods.mlm.token_kd import TokenKD
from plmc.methods.perturb.hype import HyPe
from plmc.methods.prune.gmp import GMP
from plmc.methods.sharpness.sam import SAM
from plmc.models import encoder
from plmc.testing.stage import rig

pytestmark = pytest.mark.slow
STEPS = (1, 10)  # the classes: rows that count up, and rows that count down


def counting(count: int, seed: int, *, spoilt: float = 0.1, wrong: float = 0.0, text: bool = False) -> Split:
    """Rows of the language by how much they count on; `spoilt`: share of words drawn at random; `wrong`: of labels.

    `text`: for a masked language model.
    """
    rng = np.random.default_rng(seed)
    topic, first, label = (
        rng.integers(0, TOPICS, count),
        rng.integers(0, WORDS, count),
        rng.integers(0, len(STEPS), count),
    )
    words = (first[:, None] + np.array(STEPS)[label][:, None] * np.arange(LENGTH)) % WORDS
    words = np.where(rng.random(words.shape) < spoilt, rng.integers(0, WORDS, words.shape), words)
    ids = Ragged((SPECIAL + topic[:, None] * WORDS + words).ravel(), LENGTH * np.arange(count + 1))
    label = np.where(rng.random(count) < wrong, rng.integers(0, len(STEPS), count), label)
    number = np.arange(count)
    masking = Masking(
        weights=np.where(np.arange(V) < SPECIAL, 0.0, 1.0), ordinary=np.arange(SPECIAL, V), mask_id=4, rate=0.3
    )
    name = f"{count}-{seed}-{spoilt}-{wrong}"
    return Split({"input_ids": ids}, label, number, None, number, name, draws=masking if text else None)


TRAIN, DEV = counting(1000, 0), counting(1000, 1)


def on_dev(model: nn.Module) -> tuple[float, float]:
    """Accuracy and cross-entropy on rows not trained on."""
    ids, gold = torch.as_tensor(DEV.columns["input_ids"].values.reshape(-1, LENGTH)), torch.as_tensor(DEV.labels)
    with torch.no_grad():
        logits = model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    return float((logits.argmax(-1) == gold).double().mean()), float(F.cross_entropy(logits, gold))


def classifier(source: nn.Module | None, *, layers: int = 4, seed: int = 0, dropout: float = 0.1) -> nn.Module:
    """With the blocks of a language model, or fresh."""
    torch.manual_seed(seed)
    shape = dict(vocab_size=V, hidden_size=32, num_hidden_layers=layers, num_attention_heads=4, intermediate_size=48)
    rates = dict(hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout)
    model = BertForSequenceClassification(
        BertConfig(**shape, **rates, max_position_embeddings=40, num_labels=len(STEPS))
    )
    if source is not None:
        missing, _ = model.load_state_dict(source.state_dict(), strict=False)
        assert set(missing) == {
            f"{part}.{kind}" for part in ("bert.pooler.dense", "classifier") for kind in ("weight", "bias")
        }
    return model


def tuned(folder, methods, model, steps, *, split=TRAIN, **options) -> nn.Module:
    given = {
        "evaluate": None,
        "select": "last",
        "batch_size": 32,
        "eval_every": 10**6,
        "log_every": 10**6,
        "warmup": "10%",
    }
    return rig(methods, folder, model=model, split=split, steps=steps, **{**given, **options}).fit().model


@pytest.fixture(scope="module")
def language_model(tmp_path_factory) -> nn.Module:
    model, folder = lm(0, layers=4, dropout=0.0), tmp_path_factory.mktemp("lm")
    text = counting(4000, 7, spoilt=0.0, text=True)
    model = tuned(folder, {"mlm": TaskLoss()}, model, 1500, split=text, kind="mlm", lr=3e-3)
    assert guessing(model) < 0.1
    return model


def guessing(model: nn.Module) -> float:
    """Mean cross-entropy of hidden words in rows not trained on."""
    total = 0.0
    with torch.no_grad():
        for batch in updates(counting(400, 8, spoilt=0.0, text=True), count=12, seed=99, batch_size=32):
            logits = model.eval()(**batch[0].inputs).logits
            total += F.cross_entropy(logits.flatten(0, 1), batch[0].labels.flatten(), ignore_index=-100).item() / 12
    return total


@pytest.fixture(scope="module")
def teacher(language_model, tmp_path_factory) -> nn.Module:
    model = tuned(tmp_path_factory.mktemp("teacher"), {"task": TaskLoss()}, classifier(language_model), 400, lr=1e-3)
    assert on_dev(model)[0] > 0.9
    return model.eval()


def test_distilbert_a_student_made_of_the_teachers_layers_beats_a_fresh_one(language_model, tmp_path):
    """Sanh et al. 2019, Table 4: random initialisation is the most costly ablation."""
    cut = copy.deepcopy(language_model)
    encoder.set_layers(cut, [0, 3])
    results = {}
    for name, student in (("cut", cut), ("fresh", lm(5, layers=2))):
        triple = {"token_kd": TokenKD(weight=5), "mlm": TaskLoss(weight=2), "cosine": CosineKD()}
        text = counting(4000, 7, spoilt=0.0, text=True)
        made = tuned(
            tmp_path / name, triple, student, 300, split=text, kind="mlm", teacher=copy.deepcopy(language_model)
        )
        results[name] = guessing(made)
    print(results)
    assert results["cut"] < 0.8 * results["fresh"], results


def test_tinybert_layers_first_beats_predictions_alone(teacher, tmp_path):
    """Jiao et al. 2020, Table 2, w/o Trm: the largest loss of all ablations."""
    results = []
    for seed in (1, 2, 3):
        fresh = classifier(None, layers=2, seed=seed)
        same = {"teacher": teacher, "seed": seed}
        first = tuned(tmp_path / f"a{seed}", {"layers": LayersKD()}, copy.deepcopy(fresh), 300, lr=3e-3, **same)
        both = tuned(tmp_path / f"b{seed}", {"kd": PredictionKD()}, first, 300, **same)
        alone = tuned(tmp_path / f"c{seed}", {"kd": PredictionKD()}, fresh, 600, **same)
        results.append((on_dev(both)[0], on_dev(alone)[0]))
    both, alone = np.mean(results, axis=0)
    assert both > alone + 0.02, results


def test_layer_drop_the_top_costs_no_more_than_the_bottom(language_model, tmp_path):
    """Sajjad et al. 2023: dropping the lower layers is the worst choice."""
    results = {"top": [], "bottom": []}
    for strategy, found in results.items():
        for seed in (1, 2, 3):
            methods = {"drop": LayerDrop(strategy=strategy, k=2), "task": TaskLoss()}
            student = classifier(language_model, seed=seed)
            found.append(on_dev(tuned(tmp_path / f"{strategy}{seed}", methods, student, 150, seed=seed))[0])
    assert np.mean(results["top"]) >= np.mean(results["bottom"]), results


def test_one_shot_pruning_is_worst_and_gmp_star_within_a_point_of_the_plain_cubic(teacher, tmp_path):
    """Kurtic & Alistarh 2022: a jump, a saw-tooth and the teacher, against Zhu & Gupta's cubic with a falling rate.

    That GMP* is the better of the two does not show on this language: 97.9 against 98.4 % (one shot 95.7), see its
    card.
    """
    arms = {
        "star": lambda: {
            "kd": LogitKD(temperature=5.5, alpha=0.0),
            "gmp": GMP(begin="20%", end="80%", every="1%", initial=0.5, final=0.9, cycle="20%", lr_end_factor=0.01),
        },
        "plain": lambda: {"task": TaskLoss(), "gmp": GMP(begin="20%", end="80%", every="1%", initial=0.0, final=0.9)},
        "one shot": lambda: {"task": TaskLoss(), "gmp": GMP(begin="0%", end="0%", initial=0.9, final=0.9)},
    }
    results = {name: [] for name in arms}
    for name, make in arms.items():
        for seed in (1, 2, 3):
            schedule = {"schedule": "constant", "warmup": "0%"} if name == "star" else {"schedule": "linear"}
            student = copy.deepcopy(teacher).train().requires_grad_(True)
            made = tuned(tmp_path / f"{name}{seed}", make(), student, 400, teacher=teacher, seed=seed, **schedule)
            results[name].append(on_dev(made)[0])
    print(results)
    star, plain, once = (np.mean(results[name]) for name in arms)
    assert min(star, plain) > once + 0.01 and star > plain - 0.01, results


def test_swa_the_average_of_a_high_constant_rate_beats_the_last_point_and_scatters_less(teacher, tmp_path):
    """Izmailov et al. 2018, Section 4, from a model that is trained already; the spread is Lu et al. 2022's
    argument."""
    averaged, last = [], []
    for seed in range(1, 6):
        for found, methods in ((averaged, {"swa": SWA(begin="50%")}), (last, {})):
            student = copy.deepcopy(teacher).train().requires_grad_(True)
            made = tuned(
                tmp_path / f"{len(methods)}{seed}",
                {"task": TaskLoss(), **methods},
                student,
                200,
                seed=seed,
                lr=3e-3,
                batch_size=8,
                schedule="constant_with_warmup",
            )
            found.append(on_dev(made)[1])
    print(averaged, last)
    assert sum(a < b for a, b in zip(averaged, last, strict=True)) >= 4 and np.std(averaged) < np.std(last), (
        averaged,
        last,
    )


def sharpness(model: nn.Module, rho: float = 0.5) -> float:
    """max L(w + e) - L(w) over |e| = rho, by one step along the gradient, on the training rows."""
    ids, gold = torch.as_tensor(TRAIN.columns["input_ids"].values.reshape(-1, LENGTH)), torch.as_tensor(TRAIN.labels)
    model = copy.deepcopy(model).eval()
    params = list(model.parameters())

    def value():
        return F.cross_entropy(model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits, gold)

    before = value()
    grads = torch.autograd.grad(before, params)
    norm = torch.stack([g.norm() for g in grads]).norm()
    with torch.no_grad():
        for param, grad in zip(params, grads, strict=True):
            param.add_(grad * rho / norm)
        return float(value() - before)


@pytest.mark.parametrize("wrong", [0.0, 0.2])
def test_sam_ends_where_the_loss_is_flatter(language_model, tmp_path, wrong):
    """Foret et al. 2021: flatter minima, and robustness to wrong labels."""
    flat, score = {}, {}
    for name, methods in (("adamw", {}), ("sam", {"sam": lambda: SAM(rho=0.02)})):
        made = [
            tuned(
                tmp_path / f"{name}{seed}",
                {"task": TaskLoss(), **{k: m() for k, m in methods.items()}},
                classifier(language_model, seed=seed),
                300,
                seed=seed,
                split=counting(1000, 0, wrong=wrong),
            )
            for seed in (1, 2, 3)
        ]
        flat[name], score[name] = np.mean([sharpness(m) for m in made]), [on_dev(m)[0] for m in made]
    noise = np.std(score["adamw"]) / 3**0.5 + np.std(score["sam"]) / 3**0.5
    print(flat, score)
    # Where labels are wrong neither model fits them all, and SAM's is the sharper one here: 0.56 against 0.46.
    assert wrong or flat["sam"] < 0.95 * flat["adamw"], flat
    assert np.mean(score["sam"]) > np.mean(score["adamw"]) - 2 * noise, score


def likeness(model: nn.Module) -> float:
    """Mean cosine between the tokens of a row after the last block."""
    ids = torch.as_tensor(DEV.columns["input_ids"].values.reshape(-1, LENGTH))
    with torch.no_grad():
        states = F.normalize(model.eval().bert(input_ids=ids).last_hidden_state, dim=-1)
    return float((states @ states.transpose(1, 2)).mean())


def test_hype_scores_and_scatters_as_its_control_does(language_model, tmp_path):
    """Yuan et al. 2023 report gains on small tasks; beside the control without noise they are within noise here."""
    results, alike = {}, {}
    arms = {"plain": {}, "control": {"hype": lambda: HyPe(sigma=0)}, "hype": {"hype": lambda: HyPe(sigma=1e-2)}}
    for name, methods in arms.items():
        made = [
            tuned(
                tmp_path / f"{name}{seed}",
                {"task": TaskLoss(), **{k: m() for k, m in methods.items()}},
                classifier(language_model, seed=seed),
                200,
                seed=seed,
            )
            for seed in range(1, 6)
        ]
        results[name], alike[name] = [on_dev(m)[0] for m in made], np.mean([likeness(m) for m in made])
    print(results, alike)
    noise = (np.var(results["hype"]) / 5 + np.var(results["control"]) / 5) ** 0.5
    assert np.mean(results["hype"]) > np.mean(results["control"]) - 2 * noise, results
