"""Pruning with a rewound learning rate, as Prune Once for All does it, and the lock that follows."""

from __future__ import annotations

import pytest
import torch
from loop import equal, setting, start, tiny

from plmc.core.clock import Clock
from plmc.errors import ConfigError
from plmc.methods.prune.gmp_lrr import GMPRewind, above_smallest, rewound_rate
from plmc.methods.prune.lock import PatternLock
from plmc.models.encoder import pooler_linear, pruned_linears


def paper(**options) -> GMPRewind:
    return GMPRewind(
        **{"begin": 0, "end": 50_000, "every": 1000, "last": 80_000, "rewind": 1000, "warmup": 1000, **options}
    )


def pruned(run) -> dict[str, torch.Tensor]:
    """The judged weights of what is pruned."""
    names = {f"{name}.weight" for name in pruned_linears(run.model) | pooler_linear(run.model)}
    return {name: value for name, value in run.judged().items() if name in names}


def test_the_cubic_of_the_paper():
    found = [
        paper().sparsity(Clock(step, 100_000, 100)) for step in (0, 10_000, 20_000, 30_000, 40_000, 50_000, 90_000)
    ]
    assert found[0] == 0 and found[-2:] == [0.9, 0.9]
    assert found[1:5] == pytest.approx([0.4392, 0.7056, 0.8424, 0.8928])
    assert found == sorted(found)


def test_the_rate_of_the_published_run():
    rate = [rewound_rate(t, 100_000, warmup=1000, begin=0, end=50_000, period=1000) for t in range(0, 100_000)]
    assert rate[999] == pytest.approx(0.999) and rate[1000] == pytest.approx(1.0204, abs=1e-4)
    saw = torch.tensor(rate[1000:50_000]).view(-1, 1000)
    assert torch.equal(saw, saw[:1].expand_as(saw))
    assert 1 < saw.min() < saw.max() < 1.0205
    assert all(a > b for a, b in zip(rate[50_000:], rate[50_001:], strict=False))
    assert rewound_rate(100_000, 100_000, warmup=1000, begin=0, end=50_000, period=1000) == 0


def test_a_period_of_one_update_is_constant_and_no_pruning_is_the_plain_schedule():
    flat = {rewound_rate(t, 100, warmup=5, begin=10, end=60, period=1) for t in range(10, 60)}
    assert len(flat) == 1
    from transformers import get_scheduler

    carrier = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    linear = get_scheduler("linear", carrier, 5, 100).lr_lambdas[0]
    for step in range(100):
        assert rewound_rate(step, 100, warmup=5, begin=40, end=40, period=1) == pytest.approx(linear(step))


def test_every_matrix_has_the_floor_of_its_share_and_the_rest_of_the_model_none():
    run = start({"gmp": GMPRewind(every=1, last="90%", final=0.9)}, total=20)
    for step in range(1, 21):
        run.go(step)
        target = run.chain["gmp"].sparsity(Clock(min(step, 18), 20, 10))
        for value in pruned(run).values():
            assert int((value == 0).sum()) == int(target * value.numel() + 1e-9)
    judged, chosen = run.judged(), set(pruned(run))
    blocks = {
        f"bert.encoder.layer.{i}.{part}.weight"
        for i in range(4)
        for part in (
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
            "attention.output.dense",
            "intermediate.dense",
            "output.dense",
        )
    }
    assert chosen == blocks | {"bert.pooler.dense.weight"}
    # The row of padding begins as zeros.
    judged["bert.embeddings.word_embeddings.weight"] = judged["bert.embeddings.word_embeddings.weight"][1:]
    assert all(bool((judged[name] != 0).all()) for name in judged.keys() - chosen if judged[name].ndim == 2)


def test_masks_change_at_every_event_and_between_events_never():
    run = start({"gmp": GMPRewind(end="50%", every=5, last="75%", final=0.5)}, total=40)
    changed, before = [], {}
    for step in range(1, 41):
        run.go(step, base=1e-2)
        masks = {name: mask.clone() for name, mask in run.chain["gmp"]._masks.items()}
        if before and not equal(masks, before):
            changed.append(step)
        before = masks
    assert changed == [5, 10, 15, 20, 25, 30]


def test_ties_all_go():
    assert int((~above_smallest(torch.tensor([[1.0, 1.0], [1.0, 2.0]]), 0.25)).sum()) == 3


def test_weights_return_while_masks_change_and_never_after():
    run = start({"gmp": GMPRewind(end="20%", every=1, last="60%", final=0.5)}, total=40)
    supports = []
    for step in range(1, 41):
        run.go(step, base=1e-2)
        supports.append({name: value != 0 for name, value in pruned(run).items()})
    back = sum(int((b[n] & ~a[n]).sum()) for a, b in zip(supports[8:23], supports[9:24], strict=True) for n in a)
    assert back > 0
    assert all(equal(supports[23], later) for later in supports[24:])
    assert run.chain["gmp"].settled(Clock(0, 40, 10)) == 24
    assert GMPRewind(final=0).settled(Clock(0, 40, 10)) == 0


@pytest.mark.parametrize(
    "step, share", [(0, 0.0), (9, 0.0), (10, 0.2), (15, 0.2 + 0.6 * (1 - 0.5**3)), (20, 0.8), (39, 0.8)]
)
def test_sparsity_is_cubic_between_begin_and_end(step, share):
    method = GMPRewind(begin=10, end=20, initial=0.2, final=0.8, last=30)
    assert method.sparsity(Clock(step, 40, 10)) == pytest.approx(share, abs=1e-12)


def test_the_forward_pass_sees_zeros_and_their_gradient_is_zero():
    run = start({"gmp": GMPRewind(end=1, every=1, last=1, final=0.5)}, total=4).go(2)
    seen = {}
    handles = [
        linear.register_forward_pre_hook(lambda m, _, n=n: seen.update({f"{n}.weight": m.weight.detach().clone()}))
        for n, linear in pruned_linears(run.model).items()
    ]
    dense = {name: param.detach().clone() for name, param in run.model.named_parameters()}
    judged = pruned(run)
    run.go(3)
    for handle in handles:
        handle.remove()
    grads = {name: param.grad for name, param in run.model.named_parameters()}
    assert all(torch.equal(seen[name], judged[name]) for name in seen)
    assert all(bool((grads[name][judged[name] == 0] == 0).all()) for name in seen)
    name = "bert.encoder.layer.0.output.dense.weight"
    hidden = judged[name] == 0
    # Weight decay and momentum alone move what is hidden.
    assert bool((dense[name][hidden] != 0).all()) and not torch.equal(
        dict(run.model.named_parameters())[name], dense[name]
    )


def test_what_is_finished_is_what_was_judged():
    run = start({"gmp": GMPRewind(every=1)}, total=10).go()
    judged = {name: value.clone() for name, value in run.judged().items()}
    run.chain.finish(run.model, setting(run.model, total=10))
    assert equal(judged, {name: param.detach() for name, param in run.model.named_parameters()})


def test_without_the_pooler_it_stays_dense():
    run = start({"gmp": GMPRewind(every=1, pooler=False)}, total=6).go()
    assert bool((run.judged()["bert.pooler.dense.weight"] != 0).all())


@pytest.mark.parametrize(
    "options, says",
    [
        ({"initial": 0.95}, "initial=0.95 is above final=0.9. Swap them"),
        ({"every": 0}, "every=0 must be above zero. Write for example every=1%"),
        ({"final": 1}, "final=1: a sparsity"),
        ({"rewind": 0}, "rewind=0 must be above zero. Write for example rewind=1%"),
        ({"last": "soon"}, "not a moment"),
    ],
)
def test_nonsense_is_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        GMPRewind(**options)
    assert GMPRewind(rewind=None, initial=0.9).initial == 0.9


@pytest.mark.parametrize("options", [{"last": "40%"}, {"begin": "60%"}, {"end": "100%", "last": "100%"}])
def test_a_window_that_cannot_be_is_refused(options):
    with pytest.raises(ConfigError, match="Set methods.gmp"):
        start({"gmp": GMPRewind(**options)})


def test_the_lock_holds_the_poolers_zeros_only_when_asked():
    held = {}
    for pooler in (True, False):
        model = tiny()
        with torch.no_grad():
            for linear in (pruned_linears(model) | pooler_linear(model)).values():
                linear.weight[:, ::2] = 0
        run = start({"lock": PatternLock(pooler=pooler)}, model=model, total=5)
        run.go(1)
        masks = {name: mask.clone() for name, mask in run.chain["lock"].state_dict()["masks"].items()}
        run.go()
        assert equal(masks, run.chain["lock"].state_dict()["masks"])
        held[pooler] = bool((model.bert.pooler.dense.weight[:, ::2] == 0).all())
        assert all(bool((linear.weight[:, ::2] == 0).all()) for linear in pruned_linears(model).values())
    assert held == {True: True, False: False}
