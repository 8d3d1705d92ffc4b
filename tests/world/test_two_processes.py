"""Two processes that share the rows of every update train what one trains."""

from pathlib import Path

import pytest
import torch
from pairs import pair
from share import cases, trained

from plmc.testing.methods import same
from plmc.testing.stage import equal

# Draws noise in the forward pass, which is another one in each process.
NOISY = {"hype", "lora_all"}
# Rounding to integers turns the last bits of a sum into steps.
ROUNDING = {"qat", "qat_ranges", "layers_kd, qat"}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What two processes and one train, by name."""
    folder = tmp_path_factory.mktemp("two")
    processes = pair(Path(__file__).with_name("share.py"), folder, folder=folder)
    one = trained(tmp_path_factory.mktemp("one"))
    for rank, process in enumerate(processes):
        assert process.wait(timeout=600) == 0, (folder / f"{rank}.log").read_text()
    two = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]
    return one, two


@pytest.mark.parametrize("name", cases())
def test_both_hold_the_same(both, name):
    _, (first, second) = both
    for one, two in zip(first[name], second[name], strict=True):
        assert same(one, two)


def difference(one, two):
    assert one.keys() == two.keys()
    return {name: float((one[name].float() - two[name].float()).abs().max()) for name in one if one[name].numel()}


@pytest.mark.parametrize("name", sorted(set(cases()) - NOISY))
def test_they_train_what_one_trains(both, name):
    """To rounding: sums of gradients are formed in another order."""
    alone, (first, _) = both
    weights, _, metrics, state, losses = alone[name]
    steps = 100 if name in ROUNDING else 1
    assert losses == pytest.approx(first[name][4], rel=1e-5 * steps, abs=1e-6 * steps)
    # What shifts all scores of a softmax alike has no gradient in exact arithmetic, so Adam steps by the sign of a
    # rounding error.
    idle = ("key.bias", "classifier.bias") if name == "several sequences a row" else ("key.bias",)
    far = {key: value for key, value in difference(weights, first[name][0]).items() if not key.endswith(idle)}
    assert max(far.values()) < 1e-5 * steps
    assert metrics == pytest.approx(first[name][2], abs=1e-5 * steps)
    assert equal_but_for_rounding(state, first[name][3])


def equal_but_for_rounding(one, two):
    if isinstance(one, torch.Tensor) and one.is_floating_point():
        return torch.allclose(one, two, rtol=1e-3, atol=1e-5)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(equal_but_for_rounding(one[key], two[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(two) and all(equal_but_for_rounding(a, b) for a, b in zip(one, two, strict=True))
    if isinstance(one, float):
        return one == pytest.approx(two, rel=1e-3, abs=1e-5)
    return equal({"": one}, {"": two}) if isinstance(one, torch.Tensor) else one == two
