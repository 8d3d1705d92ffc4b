"""Gradual magnitude pruning and the pattern lock."""

from itertools import pairwise, permutations

import pytest
import torch
from loop import batch, equal, setting, start, tiny

from plmc.core.chain import Chain
from plmc.core.clock import Clock
from plmc.core.method import Method
from plmc.core.shares import share
from plmc.errors import ConfigError
from plmc.methods.average.swa import SWA
from plmc.methods.layers.layer_drop import LayerDrop
from plmc.methods.prune.gmp import GMP, saw_tooth
from plmc.methods.prune.lock import PatternLock
from plmc.methods.prune.magnitude import cubic, keep_largest
from plmc.models.encoder import pruned_linears


def zeros(model) -> tuple[int, int]:
    weights = [linear.weight for linear in pruned_linears(model).values()]
    return sum(int((w == 0).sum()) for w in weights), sum(w.numel() for w in weights)


def supports(snapshot) -> dict[str, torch.Tensor]:
    names = {f"{name}.weight" for name in pruned_linears(tiny())}
    return {name: snapshot[name] != 0 for name in names}


@pytest.mark.parametrize(
    "begin, end, first, at",
    [
        (2, 8, 0.5, {2: 0.5, 3: 0.6685, 4: 0.7815, 5: 0.85, 6: 0.8852, 8: 0.9}),
        (2, 26, 0.7, {2: 0.7, 6: 0.7843, 10: 0.8407, 14: 0.875, 18: 0.8926, 22: 0.8991, 26: 0.9}),
    ],
)
def test_schedules_of_the_two_papers(begin, end, first, at):
    method = GMP(begin=f"{begin}ep", end=f"{end}ep", initial=first, final=0.9)
    for epoch, sparsity in at.items():
        assert method.sparsity(Clock(epoch * 10, 300, 10)) == pytest.approx(sparsity, abs=5e-5)
    assert method.sparsity(Clock(begin * 10, 300, 10)) == first
    assert method.sparsity(Clock(end * 10, 300, 10)) == 0.9
    assert method.sparsity(Clock(begin * 10 - 1, 300, 10)) == 0


def test_without_a_jump_it_is_the_cubic_of_zhu_and_gupta():
    method = GMP(begin=100, end=500, every=100, initial=0.0, final=0.8)
    for step in (100, 200, 300, 400, 500):
        assert method.sparsity(Clock(step, 1000, 10)) == pytest.approx(0.8 + (0 - 0.8) * (1 - (step - 100) / 400) ** 3)


@pytest.mark.parametrize("first, last", [(0.3, 0.97), (0.7, 0.9), (0.0, 0.0)])
def test_end_points_are_exact_in_floating_point(first, last):
    assert cubic(0.0, first, last) == first and cubic(1.0, first, last) == last


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.333, 0.9, 0.999])
def test_global_count_is_exact_even_with_ties(sparsity):
    scores = {"a": torch.tensor([1.0] * 50 + [2.0] * 50), "b": torch.full((7, 9), 1.0)}
    masks = keep_largest(scores, sparsity, ranking="global")
    assert sum(int((~m).sum()) for m in masks.values()) == round(sparsity * 163)
    kept = torch.cat([scores[n][masks[n]] for n in scores])
    gone = torch.cat([scores[n][~masks[n]] for n in scores])
    assert not len(gone) or not len(kept) or gone.max() <= kept.min()
    assert equal(masks, keep_largest(scores, sparsity, ranking="global"))


def test_global_differs_by_layer_and_layerwise_does_not():
    torch.manual_seed(0)
    scores = {str(i): torch.rand(40, 50) * (i + 1) for i in range(3)}
    everywhere = [m.float().mean().item() for m in keep_largest(scores, 0.5, ranking="global").values()]
    apart = [m.float().mean().item() for m in keep_largest(scores, 0.5, ranking="layer").values()]
    assert len(set(everywhere)) == 3 and apart == [0.5, 0.5, 0.5]


def test_ten_million_weights_are_ranked_quickly():
    import time

    scores = {"w": torch.rand(10_000_000, generator=torch.Generator().manual_seed(0))}
    begun = time.perf_counter()
    masks = keep_largest(scores, 0.9, ranking="global")
    assert int(masks["w"].sum()) == 1_000_000 and time.perf_counter() - begun < 5


@pytest.mark.parametrize("ranking", ["global", "layer"])
def test_supports_are_nested_and_counts_exact_at_every_step(ranking):
    run = start({"gmp": GMP(every=1, ranking=ranking)}).go()
    method, n = run.chain["gmp"], zeros(run.model)[1]
    history = [supports(snapshot) for snapshot in run.history]
    for before, after in pairwise(history):
        assert all(bool((after[name] <= before[name]).all()) for name in after)
    for step, support in enumerate(history, start=1):
        if ranking == "global":
            pruned = sum(int((~kept).sum()) for kept in support.values())
            assert pruned == round(method.sparsity(Clock(step, 20, 10)) * n)
    assert method.metrics() == {"sparsity": pytest.approx(0.9, abs=1e-3)}
    assert equal(history[13], history[-1]), "from the end of the window on the pattern is fixed"
    assert method.settled(Clock(0, 20, 10)) == 14


def test_momentum_and_weight_decay_do_not_revive_pruned_weights():
    model = tiny()
    run = start({"gmp": GMP(begin=5, end=5, final=0.5)}, model=model)
    run.optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=0.1)
    run.go()
    count, n = zeros(model)
    assert count == round(0.5 * n)
    momentum = run.optimizer.state[model.bert.encoder.layer[0].output.dense.weight]["momentum_buffer"]
    assert (momentum != 0).all(), "there was momentum that the mask had to hold against"


def test_sparsity_zero_is_plain_training_bit_for_bit():
    plain, pruned = start().go(), start({"gmp": GMP(initial=0, final=0)}).go()
    assert plain.losses == pruned.losses and equal(plain.history[-1], pruned.history[-1])


def test_one_shot_prunes_everything_at_once_and_at_zero_before_the_first_update():
    run = start({"one_shot": GMP(begin="30%", end="30%", final="80%")}).go()
    n = zeros(run.model)[1]
    sparse = [sum(int((~kept).sum()) for kept in supports(snapshot).values()) for snapshot in run.history]
    assert sparse == [0] * 5 + [round(0.8 * n)] * 15
    original = {
        f"{name}.weight": linear.weight.detach().clone().abs() for name, linear in pruned_linears(tiny()).items()
    }
    first = start({"one_shot": GMP(begin=0, end=0, final=0.8)}).go(until=1)
    expected = keep_largest(original, 0.8, ranking="global")
    assert equal(first.chain["one_shot"].state_dict()["masks"], expected)


def test_masks_carried_from_an_earlier_stage_only_grow():
    first = start({"gmp": GMP(begin=0, end=0, final=0.5)}).go(until=3)
    second = start({"gmp": GMP(begin=0, end="50%", every=5, initial=0.6, final=0.9)}, model=first.model)
    carried = first.chain["gmp"].state_dict()["masks"]
    second.chain["gmp"].load_state_dict(first.chain["gmp"].state_dict())
    second.go()
    opened = supports(second.history[0])
    n = zeros(second.model)[1]
    assert sum(int((~kept).sum()) for kept in opened.values()) == round(0.6 * n)
    assert all(bool((opened[name] <= carried[name]).all()) for name in carried)
    assert zeros(second.model)[0] == round(0.9 * n)


def test_reintroduction_lets_weights_return_until_the_end_only():
    run = start({"gmp": GMP(every=1, initial=0.5, final=0.6, reintroduction=True)}).go(base=2e-2)
    history = [supports(snapshot) for snapshot in run.history]
    returned = [any(bool((b[n] > a[n]).any()) for n in a) for a, b in pairwise(history)]
    assert any(returned[:13]) and not any(returned[13:])
    method, n = run.chain["gmp"], zeros(run.model)[1]
    for step, snapshot in enumerate(run.history, start=1):
        pruned = sum(int((~m).sum()) for m in supports(snapshot).values())
        assert pruned == round(method.sparsity(Clock(step, 20, 10)) * n)


def test_dense_copy_with_the_mask_always_open_is_plain_training():
    plain = start().go()
    run = start({"gmp": GMP(initial=0, final=0, reintroduction=True)}).go()
    assert equal(plain.history[-1], run.history[-1])


@pytest.mark.parametrize("cycle, total", [(10, 50), (10, 47), (50, 50), (7, 51)])
def test_saw_tooth_starts_high_and_ends_exactly_low(cycle, total):
    rates = [saw_tooth(step, cycle, total, 0.01) for step in range(total)]
    firsts = range(0, total, cycle)
    assert all(rates[step] == 1.0 for step in firsts)
    assert all(rates[min(step + cycle, total) - 1] == 0.01 for step in firsts)
    assert sum(b > a for a, b in pairwise(rates)) == len(firsts) - 1, "number of rewinds"
    if cycle == total:
        falls = [a - b for a, b in pairwise(rates)]
        assert falls == pytest.approx([0.99 / 49] * 49)


def test_a_last_tooth_of_one_update_does_not_end_training_on_a_jump():
    assert saw_tooth(49, 7, 50, 0.01) == 0.01 and saw_tooth(50, 7, 50, 0.01) == 0.01
    assert saw_tooth(3, 1, 50, 0.01) == 1.0 and saw_tooth(4, 2, 5, 0.01) == 0.01
    # After the last update the clock stands one further: the rate stays at the end of the tooth.
    assert saw_tooth(52, 7, 52, 0.01) == saw_tooth(51, 7, 52, 0.01) == 0.01


def test_rate_follows_the_cycle_or_leaves_the_schedule_alone():
    assert GMP().rate(0.123, Clock(7, 20, 10)) == 0.123
    run = start({"gmp": GMP(cycle="50%")}).go()
    assert run.rates[0] == run.rates[10] == 1.0 and run.rates[9] == run.rates[19] == 0.01


@pytest.mark.parametrize("reintroduction", [False, True])
@pytest.mark.parametrize("stop", [1, 6, 16])
def test_resume_is_bitwise(stop, reintroduction):
    def method():
        return {"gmp": GMP(every=2, reintroduction=reintroduction)}

    whole = start(method()).go()
    state = start(method()).go(until=stop).state()
    resumed = start(method())
    resumed.load(state)
    resumed.go()
    assert equal(whole.history[-1], resumed.history[-1])
    assert whole.chain["gmp"].metrics() == resumed.chain["gmp"].metrics()


def test_pruned_and_averaged_is_sparse_in_every_order():
    results = []
    for names in permutations(["gmp", "swa", "idle"]):
        methods = {"gmp": GMP(end="60%"), "swa": SWA(begin="60%"), "idle": Method()}
        run = start({name: methods[name] for name in names}).go()
        judged = run.judged()
        results.append(judged)
        run.model.load_state_dict(judged, strict=False)
        run.chain.finish(run.model, setting(run.model))
        count, n = zeros(run.model)
        assert count == round(0.9 * n)
    assert all(equal(results[0], other) for other in results[1:])


def test_weights_is_pure():
    run = start({"gmp": GMP()}).go()
    dense = {name: torch.ones_like(p) for name, p in run.model.named_parameters()}
    judged = run.chain.weights(dense, Clock(run.step, run.total, 10))
    assert all(bool((value == 1).all()) for value in dense.values())
    assert equal({n: judged[n] != 0 for n in supports(judged)}, supports(run.history[-1]))


def test_lock_keeps_the_pattern_bit_for_bit():
    sparse = start({"gmp": GMP(begin=0, end=0, final=0.7)}).go(until=2).model
    before = supports(dict(sparse.named_parameters()))
    run = start({"lock": PatternLock()}, model=sparse).go()
    assert run.chain.metrics()["lock/sparsity"] == pytest.approx(0.7, abs=1e-3)
    assert all(equal(before, supports(snapshot)) for snapshot in run.history)
    assert not torch.equal(run.history[0]["classifier.weight"], run.history[-1]["classifier.weight"])


def test_lock_on_a_dense_model_is_plain_training():
    assert equal(start().go().history[-1], start({"lock": PatternLock()}).go().history[-1])


def test_layers_may_go_after_pruning_was_prepared():
    run = start({"gmp": GMP(), "layer_drop": LayerDrop(strategy="bottom", k=2)}).go()
    count, n = zeros(run.model)
    assert count == round(0.9 * n) and n == 2 * (4 * 32 * 32 + 2 * 32 * 64)
    sparse = start({"gmp": GMP(begin=0, end=0, final=0.7)}).go(until=2).model
    run = start({"lock": PatternLock(), "layer_drop": LayerDrop(strategy="top", k=2)}, model=sparse).go()
    assert len(run.chain["lock"].state_dict()["masks"]) == 2 * 6
    assert zeros(run.model)[0] == sum(int((~mask).sum()) for mask in run.chain["lock"].state_dict()["masks"].values())


def test_masks_of_another_shape_are_refused():
    state = start({"gmp": GMP(begin=0, end=0)}).go(until=1).chain.state_dict()
    run = start({"gmp": GMP(begin=0, end=0)}, model=tiny(num_hidden_layers=2))
    run.chain.load_state_dict(state)
    with pytest.raises(ConfigError, match="the mask of .* fits no weight"):
        run.go()


def test_only_the_six_matrices_of_each_block_are_touched():
    run = start({"gmp": GMP(begin=0, end=0, final=0.99)}).go(until=1, base=0.0)
    inside = {f"{name}.weight" for name in pruned_linears(run.model)}
    assert len(inside) == 24
    for name, value in tiny().named_parameters():
        assert torch.equal(run.history[0][name], value) == (name not in inside), name


def test_eval_with_judged_weights_equals_eval_of_the_exported_model():
    run = start({"gmp": GMP()}).go()
    run.model.eval()
    judged = torch.func.functional_call(run.model, run.judged(), kwargs=batch(0)).logits
    exported = run.chain.finish(run.model, setting(run.model))(**batch(0)).logits
    assert torch.equal(judged, exported)


@pytest.mark.parametrize(
    "fields, says",
    [
        (dict(initial=0.9, final=0.5), "initial=0.9 is above final=0.5. Swap them"),
        (dict(final=1.0), "final=1.0: a sparsity is at least 0 and below 1"),
        (dict(initial=-0.1), "initial=-0.1: a sparsity is at least 0"),
        (dict(final="150%"), "150%.* is beyond"),
        (dict(final="lots"), "final=lots is not a sparsity. Write 0.9 or 90%"),
        (dict(ranking="tensor"), "ranking=tensor must be global or layer"),
        (dict(begin="soon"), "not a moment"),
        (dict(every=0), "every=0 must be above zero. Write for example every=1%"),
        (dict(cycle="0%"), "cycle=0% must be above zero. Write for example cycle=1%"),
        (dict(lr_end_factor=2.0), "lr_end_factor=2.0 must"),
    ],
)
def test_nonsense_is_refused(fields, says):
    with pytest.raises(ConfigError, match=says):
        GMP(**fields)
    assert GMP(initial=0.5, final="50%").final == 0.5 and GMP(final=0, initial=0).final == 0


def test_a_window_that_runs_backwards_is_refused_by_check():
    with pytest.raises(ConfigError, match="gmp.begin"):
        start({"gmp": GMP(begin="80%", end="1ep")}, total=20)


def test_two_pruning_methods_are_refused():
    with pytest.raises(ConfigError, match="mask"):
        Chain({"gmp": GMP(), "lock": PatternLock()}).check(setting())


def test_shares_are_read_both_ways():
    assert share("90%", "final") == share(0.9, "final") == share("0.9", "final") == 0.9
