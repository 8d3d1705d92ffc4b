"""Hidden representation perturbation."""

import pytest
import torch
from loop import batch, equal, setting, start, tiny
from transformers import (
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from plmc.core.clock import Clock
from plmc.core.method import Method
from plmc.errors import ConfigError
from plmc.methods.perturb.hype import HyPe, draw
from plmc.models.encoder import hidden_dropouts, layers

CLOCK = Clock(0, 20, 10)
SMALL = dict(num_hidden_layers=4, num_attention_heads=4, vocab_size=100)


class NoDropout(Method):
    """Hidden dropout off and nothing else."""

    def prepare(self, model, setting):
        for dropout in hidden_dropouts(model):
            dropout.p = 0.0
        return model


def quiet():
    """In training mode, yet without dropout: the noise is all the randomness there is."""
    return tiny(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0).double().train()


def trace(model, method=None):
    """Inputs and outputs of all blocks in one forward, with the method's noise where one is given."""
    inputs, outputs = [], []
    with (method or Method()).scope(model, CLOCK):
        hooks = []
        for block in layers(model):
            # Registered after the method's own hooks, so it sees what the block sees.
            hooks.append(block.register_forward_pre_hook(lambda _, args: inputs.append(args[0].detach())))
            hooks.append(block.register_forward_hook(lambda _, args, out: outputs.append(out.detach())))
        model(**batch(0, rows=8, tokens=16))
        for hook in hooks:
            hook.remove()
    return inputs, outputs


def noises(model, method):
    inputs, outputs = trace(model, method)
    embedded = trace(model)[0][0]
    before = [embedded, *outputs[:-1]]
    return [noisy - clean for noisy, clean in zip(inputs, before, strict=True)], outputs


@pytest.mark.parametrize("noise", ["normal", "uniform"])
@pytest.mark.parametrize("hidden_dropout", [None, 0.0])
def test_sigma_zero_is_fine_tuning_bit_for_bit(noise, hidden_dropout):
    plain = start({} if hidden_dropout is None else {"no_dropout": NoDropout()}).go()
    hype = start({"hype": HyPe(noise=noise, sigma=0, hidden_dropout=hidden_dropout)}).go()
    assert plain.losses == hype.losses and equal(plain.history[-1], hype.history[-1])


@pytest.mark.parametrize("sigma", [1e-5, 1.0])
def test_evaluation_is_never_perturbed(sigma):
    model = tiny().eval()
    clean = model(**batch(0)).logits
    with HyPe(sigma=sigma).scope(model, CLOCK):
        assert torch.equal(model(**batch(0)).logits, clean)


@pytest.mark.parametrize(
    "options, mean, std, low, high",
    [
        (dict(noise="normal"), 0.0, 1.0, -6.0, 6.0),
        (dict(noise="uniform"), 0.0, 3**-0.5, -1.0, 1.0),
        (dict(noise="uniform", mode="official_code"), 0.5, 12**-0.5, 0.0, 1.0),
        (dict(noise="normal", mode="official_code"), 0.0, 1.0, -6.0, 6.0),
    ],
)
def test_noise_on_every_input_has_the_moments_of_its_law(options, mean, std, low, high):
    torch.manual_seed(0)
    sigma = 1e-2
    found, _ = noises(quiet(), HyPe(sigma=sigma, **options))
    assert len(found) == 4
    for noise in found:
        assert noise.shape == (8, 16, 32)
        assert abs(noise.mean().item() - mean * sigma) < 4 * std * sigma / noise.numel() ** 0.5
        assert noise.std().item() == pytest.approx(std * sigma, rel=0.05)
        assert noise.min() >= low * sigma - 1e-12 and noise.max() <= high * sigma + 1e-12


def test_layers_and_steps_draw_on_their_own():
    torch.manual_seed(0)
    model, method = quiet(), HyPe(sigma=1e-2)
    draws = [noise.flatten() for _ in range(2) for noise in noises(model, method)[0]]
    correlation = torch.corrcoef(torch.stack(draws)) - torch.eye(8)
    assert correlation.abs().max() < 5 / draws[0].numel() ** 0.5


def test_the_last_output_is_clean_given_its_noisy_input():
    model = quiet()
    inputs, outputs = trace(model, HyPe(sigma=1e-1))
    torch.testing.assert_close(layers(model)[-1](inputs[-1]), outputs[-1])


@pytest.mark.parametrize("chosen, noisy", [(None, [0, 1, 2, 3]), ({"top": 3}, [1, 2, 3]), ({"bottom": 1}, [0])])
def test_only_the_chosen_layers_are_perturbed(chosen, noisy):
    found, _ = noises(quiet(), HyPe(sigma=1e-2, layers=chosen))
    assert [index for index, noise in enumerate(found) if noise.any()] == noisy


@pytest.mark.parametrize("fails", [False, True])
def test_no_hook_stays_behind(fails):
    model = tiny().train()
    before = {name: p.clone() for name, p in model.state_dict().items()}
    try:
        with HyPe(sigma=1e-2).scope(model, CLOCK):
            assert all(block._forward_pre_hooks for block in layers(model))
            if fails:
                raise RuntimeError("stop")
    except RuntimeError:
        pass
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert equal(before, dict(model.state_dict()))


def test_hidden_dropout_is_the_only_other_randomness():
    for attention, same in ((0.0, True), (0.1, False)):
        model = tiny(attention_probs_dropout_prob=attention)
        HyPe(sigma=0).prepare(model, setting(model))
        model.train()
        assert torch.equal(model(**batch(0)).logits, model(**batch(0)).logits) == same


def test_dropout_rates_come_back_and_the_config_stays_stock(tmp_path):
    model = tiny()
    method = HyPe(hidden_dropout=0.0)
    rates = {name: m.p for name, m in model.named_modules() if isinstance(m, torch.nn.Dropout)}
    config = model.config.to_dict()
    method.prepare(model, setting(model))
    off = {name for name, m in model.named_modules() if isinstance(m, torch.nn.Dropout) and m.p == 0}
    assert off == {name for name in rates if "attention.self" not in name}
    assert model.config.to_dict() == config
    method.finish(model, setting(model))
    assert {name: m.p for name, m in model.named_modules() if isinstance(m, torch.nn.Dropout)} == rates
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert torch.equal(again.eval()(**batch(0)).logits, model.eval()(**batch(0)).logits)


FAMILIES = {
    "bert": lambda **rates: tiny(**rates),
    "roberta": lambda **rates: RobertaForSequenceClassification(
        RobertaConfig(hidden_size=32, intermediate_size=64, **SMALL, **rates)
    ),
    "electra": lambda **rates: ElectraForSequenceClassification(
        ElectraConfig(hidden_size=32, intermediate_size=64, **SMALL, **rates)
    ),
    "distilbert": lambda **rates: DistilBertForSequenceClassification(
        DistilBertConfig(dim=32, hidden_dim=64, dropout=0.0, attention_dropout=0.0, **SMALL)
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("noise, size", [("normal", 1.0), ("uniform", 3**-0.5)])
def test_every_family_draws_its_own_noise_for_each_block_and_token(family, noise, size):
    """Spec 3 and 4: n draws of shape (B, L, H), mean 0, their size sigma, uncorrelated; none after the last block."""
    torch.manual_seed(0)
    model = FAMILIES[family](hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0).double().train()
    for dropout in model.modules():
        if isinstance(dropout, torch.nn.Dropout):
            dropout.p = 0.0
    sigma = 1e-2
    drawn, outputs = noises(model, HyPe(noise=noise, sigma=sigma))
    assert len(drawn) == 4 and all(each.shape == (8, 16, 32) for each in drawn)
    for each in drawn:
        assert abs(float(each.mean())) < 4 * sigma / each.numel() ** 0.5
        assert float(each.std()) == pytest.approx(sigma * size, rel=0.05)
        assert noise == "normal" or float(each.abs().max()) <= sigma
    flat = torch.stack([each.flatten() for each in drawn])
    assert float((torch.corrcoef(flat) - torch.eye(4)).abs().max()) < 0.07
    tokens = drawn[0].reshape(-1, 32)
    assert float((torch.corrcoef(tokens) - torch.eye(len(tokens))).abs().max()) < 0.9
    with HyPe(noise=noise, sigma=sigma).scope(model, CLOCK):
        torch.manual_seed(1)
        states = model(**batch(0, rows=8, tokens=16), output_hidden_states=True).hidden_states
    torch.manual_seed(1)
    assert torch.equal(states[-1], trace(model, HyPe(noise=noise, sigma=sigma))[1][-1])


def test_a_head_with_its_own_dropout_keeps_it():
    model = tiny(classifier_dropout=0.3)
    HyPe().prepare(model, setting(model))
    assert model.dropout.p == 0.3 and model.bert.embeddings.dropout.p == 0.0


@pytest.mark.parametrize(
    "make, count",
    [
        (lambda: tiny(), 10),  # embeddings, two a block, head
        (lambda: RobertaForSequenceClassification(RobertaConfig(hidden_size=32, intermediate_size=64, **SMALL)), 10),
        (lambda: ElectraForSequenceClassification(ElectraConfig(hidden_size=32, intermediate_size=64, **SMALL)), 10),
        (lambda: DistilBertForSequenceClassification(DistilBertConfig(dim=32, hidden_dim=64, **SMALL)), 5),
    ],
)
def test_every_family_has_its_hidden_dropouts_found(make, count):
    model = make()
    assert len(hidden_dropouts(model)) == count
    chosen = {id(dropout) for dropout in hidden_dropouts(model)}
    inside = [name for name, module in model.named_modules() if id(module) in chosen]
    assert not [name for name in inside if name.endswith(("self.dropout", "attention.dropout"))]
    kept = {id(m) for m in model.modules() if isinstance(m, torch.nn.Dropout)} - {id(m) for m in hidden_dropouts(model)}
    assert len(kept) == 4 + (model.config.model_type == "distilbert"), "attention, and DistilBERT's own head rate"


def test_noise_is_the_same_under_gradient_checkpointing():
    gradients = []
    for checkpointing in (False, True):
        model = quiet()
        if checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        torch.manual_seed(5)
        with HyPe(sigma=1e-1).scope(model, CLOCK):
            loss = model(**batch(0)).loss
        loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    assert all(torch.allclose(gradients[0][name], gradients[1][name], rtol=1e-9) for name in gradients[0])


@pytest.mark.parametrize("noise, variance", [("normal", 1.0), ("uniform", 1 / 3)])
def test_second_order_effect_on_a_linear_layer(noise, variance):
    torch.manual_seed(0)
    weight, h, sigma = torch.randn(5, 20).double(), torch.randn(20).double(), 0.1
    y = torch.randn(5).double()
    copies = h.expand(200_000, 20)
    loss = ((copies + draw(copies, noise, sigma)) @ weight.T - y).square().mean()
    clean = (h @ weight.T - y).square().mean()
    expected = variance * sigma**2 * weight.square().sum() / 5
    assert (loss - clean).item() == pytest.approx(expected.item(), rel=0.05)


def test_training_resumes_bitwise():
    whole = start({"hype": HyPe(sigma=1e-2)}).go()
    state = start({"hype": HyPe(sigma=1e-2)}).go(until=7).state()
    resumed = start({"hype": HyPe(sigma=1e-2)})
    resumed.load(state)
    assert equal(whole.history[-1], resumed.go().history[-1])


def test_only_real_noise_needs_full_precision():
    assert HyPe().required() - HyPe(sigma=0).required() == {"fp32"}


@pytest.mark.parametrize(
    "fields, says",
    [
        (dict(noise="pink"), "noise=pink must be normal or uniform"),
        (dict(mode="code"), "mode=code must be paper or official_code"),
        (dict(sigma=-1.0), "sigma=-1.0 must"),
        (dict(sigma=float("nan")), "sigma=nan must"),
        (dict(hidden_dropout=1.0), "hidden_dropout=1.0 must be a number 0 or more and below 1"),
        (dict(layers={"middle": 2}), "layers=.* must be a mapping of top or bottom to a whole number greater than 0"),
        (dict(layers={"top": 2, "bottom": 1}), r"Write null, {top: 3} or {bottom: 3}"),
        (dict(layers={"top": 0}), "layers=.* must be a mapping of top or bottom to a whole"),
        (dict(layers={}), r"Write null, {top: 3} or {bottom: 3}"),
    ],
)
def test_nonsense_is_refused(fields, says):
    with pytest.raises(ConfigError, match=says):
        HyPe(**fields)


def test_more_layers_than_there_are_is_refused():
    with pytest.raises(ConfigError, match="has 4 layers"):
        start({"hype": HyPe(layers={"top": 5})})


def test_dropout_is_put_back_once():
    model = tiny(hidden_dropout_prob=0.3)
    rates = [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    method = HyPe()
    assert method.finish(model, None) is model
    for _ in range(2):
        method.prepare(model, setting())
        assert [m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)] != rates
        for _ in range(2):
            method.finish(model, None)
        assert [m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)] == rates


def test_all_layers_may_be_named_and_blocks_get_all_they_were_given():
    start({"hype": HyPe(layers={"top": 4})})
    block, hidden = torch.nn.Identity(), torch.zeros(2, 3)
    passed = HyPe(sigma=0.1)._perturb(block.train(), (hidden, "mask", 7))
    assert passed[1:] == ("mask", 7) and not torch.equal(passed[0], hidden)
    assert HyPe(sigma=0.1)._perturb(block.eval(), (hidden,)) is None
