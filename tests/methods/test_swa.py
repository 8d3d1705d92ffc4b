"""Stochastic weight averaging."""

import pytest
import torch
from loop import batch, equal, setting, start, tiny
from transformers import BertConfig, BertForMaskedLM

from plmc.core.chain import Chain
from plmc.core.clock import Clock
from plmc.core.method import Method
from plmc.errors import ConfigError
from plmc.methods.average.swa import SWA
from plmc.methods.prune.gmp import GMP

CLOCK = Clock(1, 10, 5)


class Rate(Method):
    """The learning rate of an averaging run, without the averaging."""

    def rate(self, factor, clock):
        return SWA(begin="50%").rate(factor, clock)


@pytest.mark.parametrize("begin, every", [(0, 1), (5, 1), (10, 3), (10, 4), (19, 1)])
def test_the_average_is_the_mean_of_the_snapshots(begin, every):
    run = start({"swa": SWA(begin=begin, every=every)}).go()
    chosen = [snapshot for t, snapshot in enumerate(run.history) if t >= begin and (t - begin) % every == 0]
    assert run.chain["swa"].metrics()["averaged"] == len(chosen) == (20 - 1 - begin) // every + 1
    for name, value in run.judged().items():
        mean = torch.stack([snapshot[name].double() for snapshot in chosen]).mean(0)
        torch.testing.assert_close(value.double(), mean, rtol=1e-6, atol=1e-8)


def test_averaging_leaves_the_training_alone():
    averaged, plain = start({"swa": SWA(begin="50%")}).go(until=15), start({"rate": Rate()}).go(until=15)
    rng = torch.get_rng_state()
    assert averaged.losses == plain.losses
    assert all(equal(one, two) for one, two in zip(averaged.history, plain.history, strict=True))
    start({"swa": SWA(begin="50%")}).go(until=15)
    assert torch.equal(torch.get_rng_state(), rng)


def test_one_point_is_that_point_exactly():
    run = start({"swa": SWA(begin=19)}).go()
    assert equal(run.judged(), run.history[-1])


def test_before_the_beginning_the_live_weights_are_judged():
    run = start({"swa": SWA(begin=10)}).go(until=10)
    assert equal(run.judged(), run.history[-1])
    assert not equal(run.go(until=12).judged(), run.history[-1])


def test_evaluations_count_once_the_mean_has_a_point():
    for begin, first in ((0, 1), (10, 11), ("75%", 16), (19, 20)):
        assert SWA(begin=begin).settled(Clock(0, 20, 10)) == first
        assert start({"swa": SWA(begin=begin)}).go(until=first).chain["swa"].metrics()["averaged"] == 1


def test_rate_zero_from_the_start_returns_the_initial_model():
    run = start({"swa": SWA(begin="0%", lr=0.0)}).go()
    assert equal(run.judged(), {name: p.detach() for name, p in tiny().named_parameters()})


@pytest.mark.parametrize("lr, factor", [(None, 1.0), (1.5, 1.5)])
def test_the_rate_is_constant_from_the_beginning_on(lr, factor):
    run = start({"swa": SWA(begin="75%", lr=lr)}).go()
    assert run.rates[:15] == [1 - step / 20 for step in range(15)]
    assert run.rates[15:] == [factor] * 5


def test_tied_weights_stay_tied_and_the_model_reloads(tmp_path):
    torch.manual_seed(0)
    sizes = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, vocab_size=100)
    model = BertForMaskedLM(BertConfig(**sizes)).eval()
    method = SWA(begin=0)
    for step in range(3):
        with torch.no_grad():
            for param in model.parameters():
                param.add_(0.01 * torch.randn_like(param))
        method.after_update(model, Clock(step + 1, 10, 10))
    every_name = {name: p.detach() for name, p in model.named_parameters(remove_duplicate=False)}
    judged = method.weights(every_name, CLOCK)
    word, decoder = "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"
    assert word in judged and decoder in judged and torch.equal(judged[word], judged[decoder])
    count = sum(p.numel() for p in model.parameters())
    model.load_state_dict(judged, strict=False)
    model.save_pretrained(tmp_path)
    again = BertForMaskedLM.from_pretrained(tmp_path).eval()
    ids = batch(0)["input_ids"]
    assert torch.equal(again(input_ids=ids).logits, model(input_ids=ids).logits)
    assert sum(p.numel() for p in again.parameters()) == count
    assert torch.equal(again.get_input_embeddings().weight, judged[word])


@pytest.mark.parametrize("stop", [5, 10, 13])
def test_resume_gives_the_same_average(stop):
    whole = start({"swa": SWA(begin=10, every=2)}).go()
    interrupted = start({"swa": SWA(begin=10, every=2)}).go(until=stop)
    state = interrupted.state()
    interrupted.go()
    resumed = start({"swa": SWA(begin=10, every=2)})
    resumed.load(state)
    resumed.go()
    assert equal(whole.judged(), resumed.judged()) and equal(whole.judged(), interrupted.judged())


def test_half_precision_weights_are_averaged_in_float32():
    model = torch.nn.Linear(4, 4).bfloat16()
    method = SWA(begin=0)
    values = [1.0 + 2**-7 * step for step in range(7)]
    for step, value in enumerate(values):
        torch.nn.init.constant_(model.weight, value)
        method.after_update(model, Clock(step + 1, 10, 10))
    mean = method.state_dict()["mean"]["weight"]
    assert mean.dtype == torch.float32
    torch.testing.assert_close(mean, torch.full((4, 4), sum(values) / 7))
    assert method.weights(dict(model.named_parameters()), CLOCK)["weight"].dtype == torch.bfloat16


def test_weights_is_pure_and_hands_out_copies():
    run = start({"swa": SWA(begin=0)}).go()
    before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    first = run.judged()
    next(iter(first.values())).zero_()
    assert equal(before, {name: p.detach() for name, p in run.model.named_parameters()})
    assert next(iter(run.judged().values())).abs().sum() > 0


def test_on_a_noisy_quadratic_the_average_beats_the_last_point():
    torch.manual_seed(0)
    curvature = torch.logspace(0, -2, 20)
    model = torch.nn.ParameterDict({"w": torch.nn.Parameter(torch.ones(10, 20))})  # ten runs side by side
    chain = Chain({"swa": SWA(begin="50%")})
    for step in range(4000):
        with torch.no_grad():
            model["w"].sub_(0.1 * (curvature * model["w"] + 0.5 * torch.randn(10, 20)))
        chain.after_update(model, Clock(step + 1, 4000, 10))

    def loss(w):
        return (0.5 * curvature * w.square()).sum(1).mean().item()

    last, mean = loss(model["w"].detach()), loss(chain.weights(dict(model.named_parameters()), CLOCK)["w"])
    assert last > 3 * mean


def test_pruning_that_has_not_settled_is_refused_with_the_cure():
    with pytest.raises(ConfigError, match="methods.swa.begin=70%"):
        start({"gmp": GMP(end="70%"), "swa": SWA(begin="50%")})
    start({"gmp": GMP(end="70%"), "swa": SWA(begin="70%")})
    with pytest.raises(ConfigError, match="Let gmp end earlier"):
        start({"gmp": GMP(end="100%"), "swa": SWA()})


def test_a_later_method_must_not_move_the_rate():
    with pytest.raises(ConfigError, match=r"method=\[gmp,swa\]"):
        start({"swa": SWA(), "gmp": GMP(cycle="20%")})
    run = start({"gmp": GMP(cycle="20%"), "swa": SWA()}).go()
    assert run.rates[15:] == [1.0] * 5


def test_two_averagers_and_an_empty_window_are_refused():
    with pytest.raises(ConfigError, match="average"):
        Chain({"one": SWA(), "two": SWA()}).check(setting())
    with pytest.raises(ConfigError, match="no update"):
        start({"swa": SWA(begin="100%")})


@pytest.mark.parametrize(
    "fields, says",
    [(dict(begin="later"), "not a moment"), (dict(every=0), "every=0 must"), (dict(lr=-1.0), "lr=-1.0 must")],
)
def test_nonsense_is_refused(fields, says):
    with pytest.raises(ConfigError, match=says):
        SWA(**fields)
