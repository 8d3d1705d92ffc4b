"""Sharpness-aware minimisation."""

import pytest
import torch
from loop import batch, equal, setting, start, tiny

from plmc.core.chain import Chain
from plmc.errors import ConfigError
from plmc.methods.perturb.hype import HyPe
from plmc.methods.prune.gmp import GMP
from plmc.methods.sharpness.sam import SAM


def closure(model, seen=None):
    def compute():
        model.zero_grad()
        if seen is not None:
            seen.append([p.detach().clone() for p in model.parameters()])
        loss = model(**batch(0)).loss
        loss.backward()
        return loss.detach()

    return compute


def distance(one, two) -> float:
    return torch.sqrt(sum((a - b).double().square().sum() for a, b in zip(one, two, strict=True))).item()


@pytest.mark.parametrize("adaptive", [False, True])
def test_radius_zero_is_plain_training_bit_for_bit(adaptive):
    plain, sam = start().go(), start({"sam": SAM(rho=0, adaptive=adaptive)}).go()
    assert plain.losses == sam.losses and equal(plain.history[-1], sam.history[-1])


def test_the_radius_changes_training():
    assert not equal(start().go(until=3).history[-1], start({"sam": SAM(rho=0.05)}).go(until=3).history[-1])


@pytest.mark.parametrize("rho", [0.01, 0.5])
def test_the_climb_has_length_rho_and_ends_where_it_began(rho):
    model, seen = tiny().double(), []
    params = list(model.parameters())
    SAM(rho=rho).gradient(closure(model, seen), params)
    assert len(seen) == 2
    assert distance(*seen) == pytest.approx(rho, rel=1e-5)
    assert all(torch.equal(p, before) for p, before in zip(params, seen[0], strict=True))


def test_no_step_at_learning_rate_zero():
    before = {name: p.detach().clone() for name, p in tiny().named_parameters()}
    run = start({"sam": SAM()}).go(until=3, base=0.0)
    assert equal(run.history[-1], before)


def test_against_the_closed_form_on_a_quadratic():
    torch.manual_seed(0)
    root = torch.randn(6, 6, dtype=torch.float64)
    a, w = root @ root.T, torch.nn.Parameter(torch.randn(6, dtype=torch.float64))

    def compute():
        w.grad = None
        loss = 0.5 * w @ a @ w
        loss.backward()
        return loss.detach()

    g = a @ w.detach()
    loss = SAM(rho=0.3).gradient(compute, [w])
    torch.testing.assert_close(w.grad, a @ (w.detach() + 0.3 * g / g.norm()))
    assert loss.item() == pytest.approx((0.5 * w @ a @ w).item()), "the loss returned is that at w"
    SAM(rho=0.3, adaptive=True).gradient(compute, [w])
    climb = 0.3 * w.detach() ** 2 * g / (w.detach().abs() * g).norm()
    torch.testing.assert_close(w.grad, a @ (w.detach() + climb))


def test_the_climb_ascends_and_the_norm_is_joint():
    model = tiny().eval()
    params, losses = list(model.parameters()), []
    compute = closure(model)

    def listen():
        losses.append(compute())
        return losses[-1]

    SAM(rho=0.05).gradient(listen, params)
    assert losses[1] > losses[0]
    seen = []
    SAM(rho=0.05).gradient(closure(model, seen), params)
    parts = [(b - a).norm().item() for a, b in zip(*seen, strict=True)]
    assert max(parts) < 0.05


def test_both_passes_draw_the_same_dropout_unless_told_otherwise():
    for same in (True, False):
        model, losses = tiny().train(), []
        compute = closure(model)

        def listen(compute=compute, losses=losses):
            losses.append(compute())
            return losses[-1]

        torch.manual_seed(3)
        SAM(rho=0.0, same_dropout=same).gradient(listen, list(model.parameters()))
        assert (losses[0] == losses[1]) == same


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_both_passes_draw_the_same_dropout_on_a_gpu():
    drop, w, drawn = torch.nn.Dropout(0.5), torch.nn.Parameter(torch.ones(1000, device="cuda")), []

    def compute():
        w.grad = None
        out = drop(w)
        drawn.append(out.detach() == 0)
        out.square().sum().backward()
        return out.detach().square().sum()

    SAM(rho=0.0).gradient(compute, [w])
    assert torch.equal(*drawn)
    SAM(rho=0.0).gradient(compute, [w])
    assert not torch.equal(drawn[0], drawn[2]), "and the generator moved on by one pass"


def test_one_update_costs_two_forwards_and_two_backwards():
    calls = []
    model = tiny()
    compute = closure(model)
    SAM().gradient(lambda: (calls.append(1), compute())[1], list(model.parameters()))
    assert len(calls) == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_returned_untouched(value):
    w, calls = torch.nn.Parameter(torch.ones(3)), []

    def compute():
        calls.append(1)
        w.grad = torch.full((3,), value)
        return torch.tensor(value)

    loss = SAM().gradient(compute, [w])
    assert len(calls) == 1 and not torch.isfinite(loss) and torch.equal(w.detach(), torch.ones(3))


def test_an_overflowed_gradient_is_left_to_the_scaler():
    w = torch.nn.Parameter(torch.ones(3))

    def compute():
        w.grad = torch.tensor([1.0, float("inf"), 0.0])
        return torch.tensor(1.0)

    SAM().gradient(compute, [w])
    assert torch.equal(w.detach(), torch.ones(3)) and torch.isinf(w.grad).any()


def test_a_zero_gradient_and_unused_parameters_do_not_move():
    w, unused = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3))

    def compute():
        w.grad = torch.zeros(3)
        return torch.tensor(1.0)

    SAM().gradient(compute, [w, unused])
    assert torch.equal(w.detach(), torch.ones(3)) and unused.grad is None


def test_weights_come_back_when_the_second_pass_fails():
    w, calls = torch.nn.Parameter(torch.ones(3)), []

    def compute():
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("out of memory")
        w.grad = torch.ones(3)
        return torch.tensor(1.0)

    with pytest.raises(RuntimeError, match="out of memory"):
        SAM().gradient(compute, [w])
    assert torch.equal(w.detach(), torch.ones(3))


def test_listed_before_pruning_it_never_climbs_on_pruned_weights():
    run = start({"sam": SAM(), "gmp": GMP(begin=0, end=0, final=0.5)}).go(until=1)
    masks, seen = run.chain["gmp"].state_dict()["masks"], []
    params = dict(run.model.named_parameters())
    compute = closure(run.model)

    def listen():
        seen.append({name: params[name].detach().clone() for name in masks})
        return compute()

    run.chain.gradient(listen, list(params.values()))
    assert all(
        (seen[1][name][~mask] == 0).all() and (params[name].grad[~mask] == 0).all() for name, mask in masks.items()
    )


def test_resume_is_bitwise_and_noise_is_shared_by_both_passes():
    def methods():
        return {"sam": SAM(rho=0.0), "hype": HyPe(sigma=1e-2)}

    whole = start(methods()).go()
    state = start(methods()).go(until=7).state()
    resumed = start(methods())
    resumed.load(state)
    assert equal(whole.history[-1], resumed.go().history[-1])
    alone = start({"hype": HyPe(sigma=1e-2)}).go()
    assert equal(whole.history[-1], alone.history[-1])


def test_nonsense_and_a_second_gradient_method_are_refused():
    for rho in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="rho=.* must be a number 0 or more"):
            SAM(rho=rho)
    with pytest.raises(ConfigError, match="gradient"):
        Chain({"sam": SAM(), "asam": SAM(adaptive=True)}).check(setting())
