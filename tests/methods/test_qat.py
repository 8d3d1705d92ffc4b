"""Quantization-aware training: the grid, the gradient, and that the exported weights are the integers trained with."""

import copy

import numpy as np
import pytest
import torch
from loop import batch, equal, setting, tiny
from loop import start as start_any

from plmc.core.clock import Clock
from plmc.errors import ConfigError
from plmc.methods.average.swa import SWA
from plmc.methods.layers.layer_drop import LayerDrop
from plmc.methods.prune.ffn import FFNPruning
from plmc.methods.prune.gmp import GMP
from plmc.methods.prune.lock import PatternLock
from plmc.methods.quant import fake
from plmc.methods.quant.modules import FakeQuantEmbedding, FakeQuantLinear, Range, Switch, advance
from plmc.methods.quant.qat import QAT
from plmc.methods.quant.schemes import SCHEMES
from plmc.models.encoder import pruned_linears

EVERY = pytest.mark.parametrize("name", list(SCHEMES))


def start(methods=None, *, model=None, **options):
    return start_any(methods, model=tiny(num_hidden_layers=2) if model is None else model, **options)


def values(seed: int = 0, *shape: int) -> torch.Tensor:
    return torch.randn(*(shape or (40, 50)), generator=torch.Generator().manual_seed(seed)) * 3


def logits(model):
    with torch.no_grad():
        return model.eval()(**{**batch(99), "labels": None}).logits


def judge(run):
    """The model with its judged weights, in evaluation mode."""
    with torch.no_grad():
        live = dict(run.model.named_parameters())
        for key, value in run.judged().items():
            live[key].copy_(value)
    return run.model.eval()


def weights_alone(model):
    """Logits of the judged model with its weights on their grids and its activations in full precision."""
    copied = copy.deepcopy(model)
    for module in copied.modules():
        if isinstance(module, FakeQuantLinear):
            module.input_range = module.output_range = torch.nn.Identity()
    return logits(copied)


def unquantized(model):
    """Logits of the judged model as if nothing had been quantized."""
    copied = copy.deepcopy(model)
    for module in copied.modules():
        if isinstance(module, FakeQuantLinear):
            module.__class__ = torch.nn.Linear
        elif isinstance(module, FakeQuantEmbedding):
            module.__class__ = torch.nn.Embedding
    for module in copied.modules():
        if isinstance(module, torch.nn.Linear) and hasattr(module, "input_range"):
            del module.input_range, module.output_range
    return logits(copied)


def trained(name: str, model=None, **others):
    return start({"qat": QAT(scheme=name), **others}, model=model).go()


# The grid.


@pytest.mark.parametrize("rows", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_the_signed_grid(rows, seed):
    x = values(seed)
    scale = fake.weight_scale(x, rows=rows)
    q = fake.on_signed_grid(x, scale)
    assert bool(((q - x).abs() <= scale / 2 * 1.01).all()), "within half a step"
    assert torch.equal(fake.on_signed_grid(-x, scale), -q) and not fake.on_signed_grid(torch.zeros_like(x), scale).any()
    assert torch.equal(fake.weight_scale(q, rows=rows), scale), "the grid of what lies on the grid is that grid"
    assert torch.equal(fake.on_signed_grid(q, fake.weight_scale(q, rows=rows)), q), "idempotent bit for bit"
    # What NumPy code that knows nothing of short scales finds.
    size = np.abs(q.numpy()).max(axis=1, keepdims=True) if rows else np.abs(q.numpy()).max()
    again = np.round(q.numpy() / (2 * size.astype(np.float64) / 254).astype(np.float32))
    assert (again == fake.signed(x, scale).numpy()).all()


@pytest.mark.parametrize("seed", range(60))
def test_the_grid_of_a_table(seed):
    table = values(seed, 30, 8) + (seed % 3)
    q = fake.on_table_grid(table, *fake.limits(table))
    scale, zero = fake.affine_grid(*fake.limits(q))
    assert torch.equal(fake.on_table_grid(q, *fake.limits(q)), q)
    integers = fake.unsigned(q, scale, zero)
    assert torch.equal((integers - zero) * scale, q) and float(integers.min()) == 0 and float(integers.max()) == 255
    assert torch.equal(fake.on_table_grid(table[3:5], *fake.limits(table)), q[3:5]), "rows alone as in the table"
    assert float((q - table).abs().max()) <= float(scale) * 0.51


@pytest.mark.parametrize("size", [2.0**-4, 2.0**-12])
def test_both_ends_halfway_between_integers(size):
    # Rounding to even would draw one end inwards: 254 levels, and another grid the next time.
    table = torch.tensor([-100.5, -3.0, 0.0, 7.0, 154.5]) * size
    q = fake.on_table_grid(table, *fake.limits(table))
    assert torch.equal(fake.on_table_grid(q, *fake.limits(q)), q)


def test_a_row_of_zeros_stays_a_row_of_zeros():
    x = values()
    x[3] = 0
    q = fake.on_signed_grid(x, fake.weight_scale(x, rows=True))
    assert bool((q[3] == 0).all()) and bool(q.isfinite().all())
    assert bool((fake.on_unsigned_grid(torch.zeros(4), *fake.limits(torch.zeros(4))) == 0).all())


def test_the_gradient_goes_straight_through_even_where_a_value_is_clipped():
    x = values().requires_grad_()
    weight = values(1)
    (fake.on_signed_grid(x, torch.tensor(0.001)) * weight).sum().backward()
    assert torch.equal(x.grad, weight)
    x.grad = None
    (fake.on_unsigned_grid(x, torch.tensor(-0.1), torch.tensor(0.2)) * weight).sum().backward()
    assert torch.equal(x.grad, weight)


# Ranges.


def test_running_range():
    follower = Range(symmetric=True, decay=0.9, switch=Switch(), device=torch.device("cpu"))

    def update(*batches: list[float]) -> float:
        for values in batches:
            follower(torch.tensor(values))
        advance(follower, follower.switch)
        return float(follower.high)

    assert update([-4.0, 1.0]) == 4 and float(follower.low) == -4, "the first batch sets it"
    for _ in range(5):
        assert update([4.0]) == pytest.approx(4), "a constant leaves it"
    follower(torch.tensor([14.0]))
    assert float(follower.high) == pytest.approx(4), "it moves once an update, at its end"
    weights = [0.9**age for age in range(7)]
    assert update([2.0], [-1.0]) == pytest.approx((14 + 4 * sum(weights[1:])) / sum(weights)), "by all its batches"
    before = follower.high.clone()
    follower.eval()(torch.tensor([99.0]))
    follower.train()
    follower.switch.observing = False
    follower(torch.tensor([99.0]))
    assert torch.equal(follower.high, before) and not follower.seen_high.any(), (
        "in evaluation and after the freeze: nothing"
    )


def test_a_short_run_finds_the_range_that_a_long_one_keeps():
    # The plain average with Q8BERT's decay would still be at 1.04.
    follower = Range(symmetric=True, decay=0.9999, switch=Switch(), device=torch.device("cpu"))
    for value in [1.0] + [5.0] * 99:
        follower(torch.tensor([value]))
        advance(follower, follower.switch)
    assert float(follower.high) == pytest.approx(4.96, abs=0.01)


def test_an_affine_range_holds_zero():
    follower = Range(symmetric=False, decay=0.99, switch=Switch(on=True), device=torch.device("cpu"))
    follower(torch.tensor([2.0, 5.0]))
    advance(follower, follower.switch)
    out = follower(torch.tensor([2.0, 5.0]))
    assert (float(follower.low), float(follower.high)) == (0.0, 5.0) and float(out.max()) == pytest.approx(5.0)


# Training.


@EVERY
def test_off_is_plain_training_bit_for_bit(name):
    plain, off = start().go(), start({"qat": QAT(scheme=name, start="100%")}).go()
    assert plain.losses == off.losses and equal(plain.history[-1], off.history[-1])
    assert off.model.state_dict().keys() == plain.model.state_dict().keys()
    model = off.chain.finish(off.model, setting())
    assert equal(model.state_dict(), plain.model.state_dict()) and not hasattr(model.config, "plmc")


@EVERY
def test_before_the_start_nothing_changes_and_after_it_something_does(name):
    plain, late = start().go(), start({"qat": QAT(scheme=name, start="50%")}).go()
    assert plain.losses[:10] == late.losses[:10] and equal(plain.history[9], late.history[9])
    assert plain.losses[10] != late.losses[10]


def test_an_evaluation_at_the_start_sees_integers_although_no_forward_has_yet_run_with_them():
    run = start({"qat": QAT(start="50%")}).go(until=9)
    before = logits(run.model)
    assert torch.equal(before, logits(run.model)) and run.chain["qat"].metrics() == {"on": 0.0}
    plain = start().go(until=9)
    assert torch.equal(before, logits(plain.model))
    run.model.train(), plain.model.train()
    run.go(until=10), plain.go(until=10)
    assert run.chain["qat"].metrics() == {"on": 1.0} and not torch.equal(logits(run.model), logits(plain.model))


@pytest.mark.parametrize("name", ["q8bert", "prune_ofa"])
def test_ranges_freeze(name):
    run = start({"qat": QAT(scheme=name, freeze="50%", decay=0.5)}).go(until=10)
    ranges = {key: value.clone() for key, value in run.model.named_buffers() if key.endswith((".low", ".high"))}
    run.go()
    assert len(ranges) > 20
    assert equal(ranges, {key: value for key, value in run.model.named_buffers() if key in ranges})


@EVERY
def test_which_modules(name):
    run = start({"qat": QAT(scheme=name)})
    found = {key: module for key, module in run.model.named_modules() if isinstance(module, FakeQuantLinear)}
    assert set(pruned_linears(run.model)) <= set(found)
    assert "bert.pooler.dense" in found and ("classifier" in found) == SCHEMES[name].head == (name != "q8bert")
    assert any(isinstance(m, FakeQuantEmbedding) for m in run.model.modules()) == SCHEMES[name].embeddings
    quantized = {key for key, module in found.items() if isinstance(module.output_range, Range)}
    assert {key.rsplit("layer.0.")[-1] for key in quantized if "layer.0." in key} == {
        "q8bert": {
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
            "attention.output.dense",
            "intermediate.dense",
            "output.dense",
        },
        "prune_ofa": {"attention.self.query", "attention.self.key", "intermediate.dense"},
        "per_channel": set(),
        "static": set(),
    }[name]
    assert "classifier" not in quantized and ("bert.pooler.dense" in quantized) == SCHEMES[name].outputs


# The integers.


def integer_linear(module: FakeQuantLinear, x: torch.Tensor) -> torch.Tensor:
    """s_w s_x (Q_w Q_x) + b in int64: what an int8 kernel with a 32-bit accumulator computes."""
    scale = fake.weight_scale(module.weight, rows=module.rows)
    weight = fake.signed(module.weight.detach(), scale).to(torch.int64)
    follower = module.input_range
    if isinstance(follower, Range) and follower.symmetric:
        step, zero = fake.short(follower.high / fake.SIGNED), torch.zeros(())
        q = fake.signed(x, step)
    else:
        low, high = (follower.low, follower.high) if isinstance(follower, Range) else fake.limits(x)
        step, zero = fake.affine_grid(low, high)
        q = fake.unsigned(x, step, zero)
    assert int(weight.abs().max()) <= 127 and int(q.abs().max()) <= 255
    total = (q.to(torch.int64) - zero.to(torch.int64)) @ weight.T
    assert int(total.abs().max()) < 2**31
    y = total.double() * (step.double() * scale.double().flatten()) + module.bias.detach().double()
    return module.output_range(y.float())


@EVERY
def test_the_integer_path_is_the_trained_path(name):
    model = judge(trained(name))
    linears = [module for module in model.modules() if isinstance(module, FakeQuantLinear)]
    for module in linears:
        x = values(3, 4, 8, module.in_features)
        one, two = module(x).detach(), integer_linear(module, x)
        assert float((one - two).norm() / one.norm()) <= 1e-5 or isinstance(module.output_range, Range)
        # A value halfway between two outputs may fall to either side.
        assert float(((one - two).abs() > 1e-5 * float(one.abs().max())).float().mean()) < 2e-3
    expected = logits(model)
    for module in linears:
        module.forward = lambda x, module=module: integer_linear(module, x)
    torch.testing.assert_close(logits(model), expected, rtol=0, atol=2e-3)


@EVERY
def test_exported_weights_are_the_integers_that_were_judged(tmp_path, name):
    run = trained(name)
    model = judge(run)
    grids = {
        key: (fake.signed(m.weight.detach(), fake.weight_scale(m.weight, rows=m.rows)), m.rows)
        for key, m in model.named_modules()
        if isinstance(m, FakeQuantLinear)
    }
    tables = {key: m.on_grid().detach() for key, m in model.named_modules() if isinstance(m, FakeQuantEmbedding)}
    plain = run.chain.finish(model, setting())
    assert not any(type(m).__module__.startswith("plmc") for m in plain.modules())
    assert plain.state_dict().keys() == tiny(num_hidden_layers=2).state_dict().keys()
    plain.save_pretrained(tmp_path)
    again = type(plain).from_pretrained(tmp_path)
    assert torch.equal(logits(again), logits(plain))
    for key, (integers, rows) in grids.items():
        weight = again.get_submodule(key).weight.detach().numpy().astype(np.float64)
        scale = (np.abs(weight).max(axis=1, keepdims=True) if rows else np.abs(weight).max()) / 127
        found = weight / scale
        assert np.abs(found - np.round(found)).max() < 1e-9, "on the grid"
        assert (np.round(found) == integers.numpy()).all(), f"{key}: the same integers"
    for key, table in tables.items():
        assert torch.equal(again.get_submodule(key).weight, table)
    record = again.config.plmc["quantization"]
    assert (record["head"], record["embeddings"]) == (SCHEMES[name].head, SCHEMES[name].embeddings)
    assert record["scheme"] == name and record["weights"] == ("per_row" if SCHEMES[name].rows else "per_tensor")
    assert bool(record["ranges"]) == (SCHEMES[name].decay is not None)
    for found in record["ranges"].values():
        assert all(low <= 0 <= high and low < high for low, high in found.values())


@EVERY
def test_the_exported_model_answers_as_the_judged_one_but_for_its_activations(name):
    judged = judge(trained(name))
    weights, activations, plain = weights_alone(judged), logits(judged), unquantized(judged)
    assert not torch.equal(weights, plain) and not torch.equal(weights, activations)
    run = trained(name)
    assert torch.equal(logits(run.chain.finish(judge(run), setting())), weights)


def test_rows_are_quantized_more_finely_than_tensors():
    x = values(2) * torch.logspace(-2, 0, 40)[:, None]
    error = {
        rows: float((fake.on_signed_grid(x, fake.weight_scale(x, rows=rows)) - x).norm()) for rows in (True, False)
    }
    assert error[True] < 0.8 * error[False]


# Company.


@EVERY
def test_zeros_stay_zeros_under_a_locked_pattern(name):
    model = tiny(num_hidden_layers=2)
    with torch.no_grad():
        for linear in pruned_linears(model).values():
            linear.weight[torch.rand(linear.weight.shape, generator=torch.Generator().manual_seed(0)) < 0.85] = 0
    before = {key: linear.weight == 0 for key, linear in pruned_linears(model).items()}
    run = start({"lock": PatternLock(), "qat": QAT(scheme=name)}, model=model).go()
    plain = run.chain.finish(judge(run), setting())
    for key, linear in pruned_linears(plain).items():
        assert bool((linear.weight[before[key]] == 0).all()) and bool((linear.weight != 0).any())


@EVERY
def test_averages_are_taken_of_float_weights_and_then_rounded(name):
    run = trained(name, swa=SWA(begin="50%"))
    mean = {key: torch.stack([h[key] for h in run.history[10:]]).mean(0) for key in run.history[0]}
    model = judge(run)
    for key, value in model.named_parameters():
        torch.testing.assert_close(value.detach(), mean[key], rtol=1e-5, atol=1e-7)
    linear = model.bert.encoder.layer[0].output.dense
    rounded, before = linear.on_grid().detach(), linear.weight.detach().clone()
    assert not torch.equal(rounded, before)
    plain = run.chain.finish(model, setting())
    assert torch.equal(plain.bert.encoder.layer[0].output.dense.weight, rounded)


@EVERY
@pytest.mark.parametrize(
    "other", [GMP(final=0.5), FFNPruning(multiple=1), LayerDrop(drop=[0])], ids=lambda m: type(m).__name__
)
@pytest.mark.parametrize("first", [True, False])
def test_what_is_cut_or_masked_lies_on_the_judged_grid(name, other, first):
    methods = {"qat": QAT(scheme=name), "other": other} if first else {"other": other, "qat": QAT(scheme=name)}
    run = start(methods).go()
    judged = judge(run)
    scales = [
        (module, fake.weight_scale(module.weight, rows=module.rows))
        for module in judged.modules()
        if isinstance(module, FakeQuantLinear)
    ]
    expected = weights_alone(judged)
    effect = float((unquantized(judged) - expected).abs().max())
    plain = run.chain.finish(judged, setting())
    for module, scale in scales:
        if scale.ndim == 0:
            assert torch.equal(fake.weight_scale(module.weight, rows=False), scale)
    # What is cut out changes the order of sums and nothing else.
    torch.testing.assert_close(logits(plain), expected, rtol=0, atol=1e-6)
    assert effect > 1e-5
    assert not any(type(m).__module__.startswith("plmc") for m in plain.modules())


@EVERY
@pytest.mark.parametrize("at", [3, 10, 14])
def test_resume_is_bitwise(name, at):
    make = lambda: {"qat": QAT(scheme=name, start="25%", freeze="60%")}  # noqa: E731
    whole = start(make()).go()
    state = start(make()).go(until=at).state()
    other = start(make())
    other.load(state)
    other.go()
    assert other.losses == whole.losses[at:] and equal(other.model.state_dict(), whole.model.state_dict())


def test_a_finished_stage_is_taken_up_with_its_ranges():
    run = trained("prune_ofa")
    state = run.chain.state_dict()
    assert state["qat"]["ranges"] == {}
    made = run.chain.finish(judge(run), setting())
    other = start({"qat": QAT(scheme="prune_ofa")})
    other.chain.load_state_dict(run.chain.state_dict())
    empty = other.chain.finish(other.model, setting())
    empty.load_state_dict(made.state_dict())
    assert empty.config.plmc == made.config.plmc


def test_selection_and_averages_wait_for_the_start():
    assert QAT(start="30%").settled(Clock(0, 20, 10)) == 6 and QAT(start="100%").settled(Clock(0, 20, 10)) == 0


@pytest.mark.parametrize(
    "options, says",
    [
        ({"scheme": "int8"}, "q8bert, prune_ofa, per_channel, static"),
        ({"decay": 1.0}, "below 1"),
        ({"scheme": "per_channel", "decay": 0.9}, "Remove decay"),
        ({"start": "early"}, "not a moment"),
    ],
)
def test_wrong_fields_are_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        QAT(**options)


def test_a_freeze_before_the_start_is_refused():
    with pytest.raises(ConfigError, match=r"methods\.qat\.freeze=50%"):
        start({"qat": QAT(start="50%", freeze="20%")})
    with pytest.raises(ConfigError, match=r"methods\.qat\.freeze=80%"):
        start({"qat": QAT(scheme="static", freeze="0%")})


@pytest.mark.parametrize("name, decay", [("q8bert", 0.9999), ("prune_ofa", 0.99), ("static", 0.99)])
def test_running_ranges_have_the_decay_of_their_scheme(name, decay):
    def decays(model):
        return {module.decay for module in model.modules() if isinstance(module, Range)}

    assert decays(start({"qat": QAT(scheme=name)}).model) == {decay}
    assert decays(start({"qat": QAT(scheme=name, decay=0.5)}).model) == {0.5}


@pytest.mark.parametrize("given", [True, False])
def test_the_record_says_what_was_asked_for_against_the_scheme(given):
    for name in SCHEMES:
        run = start({"qat": QAT(scheme=name, head=given, embeddings=given)}, total=2).go()
        record = run.chain.finish(run.model, setting()).config.plmc["quantization"]
        assert record["head"] is given and record["embeddings"] is given


@pytest.mark.parametrize(
    "values, low, high",
    [([-0.5, 0.25], -0.5, 0.25), ([0.2, 0.3], 0.0, 0.3), ([-3.0, -2.0], -3.0, 0.0), ([0.0], 0.0, 0.0)],
)
def test_limits_hold_zero_and_nothing_more(values, low, high):
    found = fake.limits(torch.tensor(values))
    assert [float(each) for each in found] == pytest.approx([low, high])


@pytest.mark.parametrize(
    "name, symmetric", [("q8bert", {True}), ("prune_ofa", {False}), ("static", {False}), ("per_channel", set())]
)
def test_ranges_are_symmetric_as_their_scheme_says_and_are_saved_without_what_an_update_saw(name, symmetric):
    model = start({"qat": QAT(scheme=name)}).model
    ranges = [module for module in model.modules() if isinstance(module, Range)]
    assert {module.symmetric for module in ranges} == symmetric
    assert all(list(module.state_dict()) == ["low", "high"] for module in ranges)


def test_a_matrix_that_is_the_word_table_is_quantized_once():
    from transformers import BertConfig, BertForMaskedLM

    sizes = dict(vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=48)
    model = BertForMaskedLM(BertConfig(**sizes))
    names = QAT(scheme="per_channel")._names(model)
    assert model.cls.predictions.decoder.weight is model.get_input_embeddings().weight
    assert "cls.predictions.transform.dense" in names and "cls.predictions.decoder" not in names
    assert "bert.embeddings.word_embeddings" in names
