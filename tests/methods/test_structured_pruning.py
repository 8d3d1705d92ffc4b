"""Pruning of heads and of feed-forward width: scores, schedule, and models that are really smaller."""

import pytest
import torch
from loop import batch, equal, setting, start, tiny
from transformers import (
    AutoModelForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from plmc.errors import ConfigError
from plmc.methods.average.swa import SWA
from plmc.methods.layers.layer_drop import LayerDrop
from plmc.methods.prune.ffn import FFNPruning
from plmc.methods.prune.gmp import GMP
from plmc.methods.prune.heads import HeadPruning
from plmc.models import encoder, load, surgery

BOTH = pytest.mark.parametrize(
    "make", [HeadPruning, lambda **o: FFNPruning(**{"multiple": 1, **o})], ids=["heads", "ffn"]
)


def family(name: str):
    torch.manual_seed(0)
    shared = dict(vocab_size=100, max_position_embeddings=40)
    if name == "distilbert":
        return DistilBertForSequenceClassification(
            DistilBertConfig(dim=32, n_layers=2, n_heads=4, hidden_dim=48, **shared)
        )
    if name == "bert":
        return tiny(num_hidden_layers=2)
    sizes = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, **shared)
    if name == "electra":
        return ElectraForSequenceClassification(ElectraConfig(embedding_size=16, **sizes))
    return RobertaForSequenceClassification(RobertaConfig(**sizes))


def judged(run):
    with torch.no_grad():
        live = dict(run.model.named_parameters())
        for name, value in run.judged().items():
            live[name].copy_(value)
    return run.model.eval()


def logits(model):
    with torch.no_grad():
        return model.eval()(**{**batch(99), "labels": None}).logits


def widths(model):
    heads = [out.in_features // surgery.head_size(model) for *_, out in surgery.attention_linears(model)]
    return heads, [down.in_features for _, down in surgery.feed_forward_linears(model)]


def test_the_score_of_a_head_is_the_loss_change_of_its_gate():
    """Against the difference quotient of the loss in each gate, one row at a time: no other path to the score."""
    model = tiny(num_hidden_layers=1).double().eval()
    run = start({"heads": HeadPruning(begin=1, end=9)}, model=model)
    run.model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    inputs = batch(0, rows=3)
    method, out = run.chain["heads"], model.bert.encoder.layer[0].attention.output.dense

    def compute():
        with run.chain.scope(model, setting(model).clock):
            loss = model(**inputs).loss
        loss.backward()
        return loss

    run.chain.gradient(compute, list(model.parameters()))
    score = method._gates.take([4], out.weight.device)[0]
    expected, step, clean = torch.zeros(4, dtype=torch.float64), 1e-6, out.weight.detach().clone()
    with torch.no_grad():
        for row in range(3):
            one = {key: value[row : row + 1] for key, value in inputs.items()}
            for head in range(4):
                loss = []
                for sign in (1, -1):
                    out.weight.copy_(clean)
                    out.weight[:, head * 8 : head * 8 + 8] *= 1 + sign * step
                    loss.append(model(**one).loss)
                expected[head] += abs(loss[0] - loss[1]) / (2 * step) / 3
    torch.testing.assert_close(score.double(), expected, rtol=1e-4, atol=1e-9)


@BOTH
def test_gates_change_no_bit_of_training_before_the_first_event(make):
    plain, gated = start().go(until=10), start({"prune": make(begin=12, end=18)}).go(until=10)
    assert plain.losses == gated.losses and equal(plain.history[-1], gated.history[-1])


@BOTH
def test_keeping_everything_is_plain_training_and_no_cut(make):
    plain, kept = start().go(), start({"prune": make(keep=1.0)}).go()
    assert plain.losses == kept.losses and equal(plain.history[-1], kept.history[-1])
    model = kept.chain.finish(kept.model, setting())
    assert widths(model) == ([4] * 4, [64] * 4) and not hasattr(model.config, "plmc")


@BOTH
@pytest.mark.parametrize("ranking", ["layer", "global"])
def test_removed_units_stay_removed_and_the_share_is_exact(make, ranking):
    run = start({"prune": make(keep=0.5, every=1, ranking=ranking)})
    method, last, kept = run.chain["prune"], None, []
    while run.step < 20:
        run.go(until=run.step + 1)
        now = [mask.clone() for mask in method._kept]
        if last is not None:
            assert all(bool((after <= before).all()) for before, after in zip(last, now, strict=True))
        last = now
        kept.append(sum(int(mask.sum()) for mask in now))
    total = sum(len(mask) for mask in last)
    assert kept[1] == total and kept[13] == kept[-1] == total // 2
    assert len(set(kept)) > 2, "the window has intermediate events"
    if ranking == "layer":
        assert {int(mask.sum()) for mask in last} == {len(last[0]) // 2}


@BOTH
def test_a_global_ranking_leaves_every_layer_something(make):
    run = start({"prune": make(keep=0.02, every=1, ranking="global")}).go()
    assert min(int(mask.sum()) for mask in run.chain["prune"]._kept) >= 1


@BOTH
@pytest.mark.parametrize("ranking", ["layer", "global"])
def test_the_cut_model_answers_as_the_masked_one(make, ranking):
    run = start({"prune": make(keep=0.4, ranking=ranking)}).go()
    masked = logits(judged(run))
    before = sum(p.numel() for p in run.model.parameters())
    model = run.chain.finish(run.model, setting())
    assert sum(p.numel() for p in model.parameters()) < before
    torch.testing.assert_close(logits(model), masked, rtol=1e-5, atol=1e-6)


@BOTH
def test_momentum_does_not_revive_what_is_removed(make):
    run = start({"prune": make(begin=5, end=5)})
    run.optimizer = torch.optim.SGD(run.model.parameters(), lr=1e-3, momentum=0.9, weight_decay=0.1)
    run.go()
    method = run.chain["prune"]
    for name, mask in method._masks.items():
        weight = run.model.get_parameter(name).detach()
        assert bool((weight[~mask.expand_as(weight)] == 0).all()) and not bool(mask.all())


def test_the_width_is_a_multiple():
    run = start({"ffn": FFNPruning(keep=0.4, multiple=16)}).go()
    assert widths(run.chain.finish(run.model, setting()))[1] == [32] * 4
    assert run.model.config.intermediate_size == 32 and not hasattr(run.model.config, "plmc")


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "electra"])
@pytest.mark.parametrize("ranking", ["layer", "global"])
def test_a_saved_model_comes_back_with_its_shape(tmp_path, name, ranking):
    methods = {
        "heads": HeadPruning(keep=0.4, ranking=ranking),
        "ffn": FFNPruning(keep=0.4, ranking=ranking, multiple=1),
    }
    run = start(methods, model=family(name)).go()
    model = run.chain.finish(run.model, setting())
    model.save_pretrained(tmp_path)
    again = load.load_whole(AutoModelForSequenceClassification, str(tmp_path))
    assert torch.equal(logits(again), logits(model)) and widths(again) == widths(model)
    assert encoder.dims(again).heads == max(widths(model)[0])
    again.save_pretrained(tmp_path / "twice")
    twice = load.load_whole(AutoModelForSequenceClassification, str(tmp_path / "twice"))
    assert torch.equal(logits(twice), logits(model))
    assert again.config.architectures == model.config.architectures
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        AutoModelForSequenceClassification.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "electra"])
def test_an_even_width_needs_nothing_special_to_reload(tmp_path, name):
    run = start({"ffn": FFNPruning(keep=0.5)}, model=family(name)).go()
    model = run.chain.finish(run.model, setting())
    model.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert torch.equal(logits(again), logits(model)) and widths(again) == widths(model)


def test_a_cut_student_can_be_trained_cut_and_shortened_again(tmp_path):
    run = start({"heads": HeadPruning(keep=0.5, ranking="global")}).go()
    run.chain.finish(run.model, setting()).save_pretrained(tmp_path)
    student = load.load_whole(AutoModelForSequenceClassification, str(tmp_path))
    first = widths(student)[0]
    encoder.set_layers(student, [1, 3])
    assert student.config.plmc["shape"]["heads"] == [first[1], first[3]]
    again = start({"heads": HeadPruning(keep=0.5, ranking="global")}, model=student).go()
    made = again.chain.finish(again.model, setting())
    assert sum(widths(made)[0]) == max(2, round(0.5 * (first[1] + first[3])))
    made.save_pretrained(tmp_path / "second")
    assert torch.equal(
        logits(load.load_whole(AutoModelForSequenceClassification, str(tmp_path / "second"))), logits(made)
    )


@BOTH
@pytest.mark.parametrize("at", [3, 9, 16])
def test_resume_is_bitwise(make, at):
    whole = start({"prune": make()}).go()
    half = start({"prune": make()}).go(until=at)
    state = half.state()
    other = start({"prune": make()})
    other.load(state)
    other.go()
    assert other.losses == whole.losses[at:] and equal(other.history[-1], whole.history[-1])


@BOTH
def test_a_finished_stage_is_cut_from_its_state_alone(make):
    run = start({"prune": make(ranking="global")}).go()
    state = run.chain.state_dict()
    made = run.chain.finish(judged(run), setting())
    other = start({"prune": make(ranking="global")})
    other.chain.load_state_dict(state)
    empty = other.chain.finish(other.model, setting())
    assert widths(empty) == widths(made) and getattr(empty.config, "plmc", None) == getattr(made.config, "plmc", None)
    empty.load_state_dict(made.state_dict())
    assert torch.equal(logits(empty), logits(made))


@BOTH
@pytest.mark.parametrize("others", [{"gmp": GMP(final=0.5)}, {"swa": SWA()}, {"drop": LayerDrop(drop=[0])}], ids=str)
def test_with_masks_averages_and_fewer_layers_what_is_cut_is_what_was_judged(make, others):
    run = start({"prune": make(), **others}).go()
    expected = logits(judged(run))
    torch.testing.assert_close(logits(run.chain.finish(run.model, setting())), expected, rtol=1e-5, atol=1e-6)


def test_masks_over_weights_come_after_the_cut():
    with pytest.raises(ConfigError, match=r"method=\[heads,gmp\]"):
        start({"gmp": GMP(), "heads": HeadPruning()})


@pytest.mark.parametrize(
    "options, says",
    [
        ({"keep": 0}, "keep=0.5"),
        ({"keep": 1.5}, "below 1"),
        ({"ranking": "local"}, "global or layer"),
        ({"every": 0}, "every=5%"),
        ({"ranking": "global", "multiple": 8}, "multiple=1"),
    ],
)
def test_wrong_fields_are_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        HeadPruning(**options)


@pytest.mark.parametrize("window", [{"begin": "50%", "end": "40%"}, {"begin": 0, "end": 0}])
def test_an_empty_window_is_refused(window):
    with pytest.raises(ConfigError, match=r"methods\.heads\.begin=10%"):
        start({"heads": HeadPruning(**window)})


@BOTH
@pytest.mark.parametrize("ranking", ["layer", "global"])
@pytest.mark.parametrize("normalize", [True, False])
def test_an_event_keeps_the_units_of_the_largest_scores(make, ranking, normalize):
    run = start({"prune": make(keep=0.5, begin=8, end=12, every=4, ranking=ranking, normalize=normalize)}).go(until=11)
    method = run.chain["prune"]
    # One layer's scores on a larger scale: without normalising it would win every place of a global ranking.
    method._gates._sums[0] *= 1000
    taken, take = [], method._gates.take
    method._gates.take = lambda *given: taken.append(take(*given)) or [each.clone() for each in taken[0]]
    run.go(until=12)
    scores = [each / each.norm() if normalize else each for each in taken[0]]
    best = [int(each.argmax()) for each in scores]
    if ranking == "layer":
        expected = [set(each.topk(len(each) // 2).indices.tolist()) for each in scores]
    else:
        flat = torch.cat(
            [each.where(torch.arange(len(each)) != i, torch.inf) for each, i in zip(scores, best, strict=True)]
        )
        chosen, size = flat.topk(len(flat) // 2).indices, len(scores[0])
        expected = [{int(i) % size for i in chosen if int(i) // size == layer} for layer in range(len(scores))]
    assert [set(kept.nonzero().flatten().tolist()) for kept in method._kept] == expected
    if ranking == "global" and not normalize:
        assert len(expected[0]) > len(expected[1])


@BOTH
def test_the_share_that_is_kept_is_told(make):
    run = start({"prune": make(keep=0.5, begin=1, end=4, every=1, ranking="global")}, total=6)
    assert run.chain["prune"].metrics() == {"kept": 1.0}
    run.go()
    assert run.chain["prune"].metrics() == {"kept": 0.5}


def test_the_removed_share_grows_by_the_cubic():
    run = start({"ffn": FFNPruning(keep=0.5, begin=0, end=20, every=1, multiple=1, ranking="global")}, total=25)
    for step in range(1, 26):
        run.go(until=step)
        removed = 256 - sum(int(kept.sum()) for kept in run.chain["ffn"]._kept)
        assert removed == round(256 * 0.5 * (1 - (1 - min(step, 20) / 20) ** 3))


def test_importance_beats_its_opposite():
    """Removing the units that the score calls unimportant costs less loss than removing the others."""
    run = start({"ffn": FFNPruning(begin=15, end=20, every=5, multiple=1)}).go(until=12)
    method, model = run.chain["ffn"], run.model.eval()
    sums = method._gates.take([64] * 4, torch.device("cpu"))

    def loss_without(largest: bool) -> float:
        saved = {name: p.detach().clone() for name, p in model.named_parameters()}
        with torch.no_grad():
            for score, (_, down) in zip(sums, surgery.feed_forward_linears(model), strict=True):
                down.weight[:, score.topk(32, largest=largest).indices] = 0
            loss = sum(float(model(**batch(step)).loss) for step in range(8))
            for name, p in model.named_parameters():
                p.copy_(saved[name])
        return loss

    with torch.no_grad():
        whole = sum(float(model(**batch(step)).loss) for step in range(8))
    assert abs(loss_without(largest=False) - whole) < abs(loss_without(largest=True) - whole)


def test_gates_count_training_only_and_their_sums_are_saved_by_layer():
    from plmc.methods.prune.importance import Gates

    torch.manual_seed(0)
    gates, linear, values = Gates(), torch.nn.Linear(6, 2), torch.randn(3, 4, 6)
    for layer, size in ((0, 3), (2, 2)):
        handle = linear.register_forward_pre_hook(gates.open(layer, size))
        linear.train()(values).square().sum().backward()
        gates.read()
        # Neither an evaluation, with or without gradients, nor training without them.
        linear.eval()(values).sum().backward()
        with torch.no_grad():
            linear.train()(values)
        assert not gates._open
        handle.remove()
    saved = gates.state_dict()
    assert list(saved) == ["0", "2"]
    other = Gates()
    other.load_state_dict(saved)
    one, two = (each.take([2, 5, 3], torch.device("cpu")) for each in (gates, other))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert bool((one[0] > 0).all() and (one[2] > 0).all()) and one[1].tolist() == [0] * 5
    assert [len(each) for each in gates.take([2], torch.device("cpu"))] == [2] and not gates.state_dict()


def test_an_update_that_overflowed_counts_for_nothing():
    from plmc.methods.prune.importance import Gates

    gates = Gates()
    for grads in ([1.0, 2.0, 3.0], [torch.inf, torch.nan, 1.0], [-torch.inf, 1.0, torch.nan]):
        gate = torch.ones(1, 3, requires_grad=True)
        gate.grad = torch.tensor([grads])
        gates._open.append((0, gate))
        gates.read()
    assert gates.take([3], torch.device("cpu"))[0].tolist() == [1.0, 3.0, 4.0]


def test_nothing_to_remove_is_settled_at_once():
    clock = setting().clock
    assert HeadPruning(keep=1.0).settled(clock) == 0 and HeadPruning(end="70%").settled(clock) == 14


def test_masks_of_another_shape_are_refused():
    """Carried over from a stage whose student had more layers or wider ones."""
    wide = start({"heads": HeadPruning(begin=1, end=2)}, total=4).go()
    for student in (tiny(num_hidden_layers=2), tiny(num_attention_heads=2)):
        run = start({"heads": HeadPruning()}, model=student)
        run.chain.load_state_dict(wide.chain.state_dict())
        with pytest.raises(
            ConfigError, match="heads: what was carried over is of another shape.*Remove heads from carry"
        ):
            run.go(until=1)


def test_a_kind_of_pruning_says_what_it_cuts():
    from plmc.methods.prune.structured import StructuredPruning

    with pytest.raises(NotImplementedError, match="StructuredPruning must say what it cuts"):
        StructuredPruning().parts(tiny())
