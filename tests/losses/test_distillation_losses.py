"""Identities of the pure loss functions."""

import pytest
import torch
import torch.nn.functional as F

from plmc.losses import kl, task
from plmc.losses import token_kl as pieces
from plmc.losses.attention import attention_score_mse, unpadded_columns
from plmc.losses.hidden import hidden_mse
from plmc.losses.task import token_cross_entropy
from plmc.losses.token_kl import token_kl


def logits(*shape, seed=0, scale=3.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def kd_kl(*args, **options):
    """Its mean over rows."""
    return kl.kd_kl(*args, **options).mean()


def soft_cross_entropy(*args, **options):
    return kl.soft_cross_entropy(*args, **options).mean()


def place_cross_entropy(*args):
    return task.place_cross_entropy(*args).mean()


def gradient(loss, at):
    at = at.clone().requires_grad_()
    return torch.autograd.grad(loss(at), at)[0]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_kl_of_equal_logits_is_zero_with_zero_gradient(temperature):
    z = logits(5, 4)
    assert kd_kl(z, z, temperature=temperature) == 0
    assert gradient(lambda s: kd_kl(s, z, temperature=temperature), z).abs().max() < 1e-12


def test_kl_is_the_mean_over_rows_of_the_sum_over_classes():
    s, t = logits(5, 4), logits(5, 4, seed=1)
    p, q = t.softmax(-1), s.softmax(-1)
    torch.testing.assert_close(kd_kl(s, t), (p * (p / q).log()).sum() / 5)


@pytest.mark.parametrize("elements", [1, 15, 2**20])
def test_kl_in_pieces_is_the_same_loss_with_the_same_gradient(monkeypatch, elements):
    monkeypatch.setattr(pieces, "_ELEMENTS", elements)
    s, t = logits(7, 5), logits(7, 5, seed=1)
    torch.testing.assert_close(token_kl(s, t, temperature=3.0).mean(), kd_kl(s, t, temperature=3.0))
    expected = gradient(lambda z: 0.3 * kd_kl(z, t, temperature=3.0), s)
    torch.testing.assert_close(gradient(lambda z: 0.3 * token_kl(z, t, temperature=3.0).mean(), s), expected)
    weights = torch.arange(7.0, dtype=s.dtype)
    each = gradient(lambda z: (token_kl(z, t) * weights).sum(), s)
    torch.testing.assert_close(each, gradient(lambda z: kd_kl(z, t), s) * 7 * weights[:, None])
    assert (token_kl(s, s) == 0).all() and gradient(lambda z: token_kl(z, s).sum(), s).abs().max() == 0


def test_kl_in_pieces_of_bf16_logits_is_computed_in_float32():
    s, t = (z.bfloat16() for z in (logits(7, 50), logits(7, 50, seed=1)))
    exact = kd_kl(s.double(), t.double())
    torch.testing.assert_close(token_kl(s, t).mean().double(), exact, rtol=1e-5, atol=0)
    found = gradient(lambda z: token_kl(z, t).sum(), s)
    expected = 7 * gradient(lambda z: kd_kl(z, t.double()), s.double())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), expected, rtol=2**-8, atol=1e-7)


def test_kl_in_pieces_of_fp16_logits_keeps_small_gradients_for_the_scaled_loss():
    s, t = (z.half() for z in (logits(4, 5000, scale=0.1), logits(4, 5000, seed=1, scale=0.1)))
    found = gradient(lambda z: 2.0**16 * token_kl(z, t).mean(), s).double()
    expected = gradient(lambda z: 2.0**16 * kd_kl(z, t.double()), s.double())
    assert (expected.abs() < 2.0**-24 * 2.0**16).any()  # zero in fp16 before the scaling
    torch.testing.assert_close(found, expected, rtol=2**-10, atol=2e-3)


def test_kl_gradient_at_high_temperature_matches_centred_logits():
    """Hinton et al. 2015, Eq. 4: the limit is (1/C) (centred z_S - centred z_T), independent of T thanks to T²."""
    s, t = logits(3, 5), logits(3, 5, seed=1)
    centred = (s - s.mean(-1, keepdim=True)) - (t - t.mean(-1, keepdim=True))
    for temperature in (1e3, 1e4):
        found = gradient(lambda z, T=temperature: kd_kl(z, t, temperature=T), s) * len(s)
        torch.testing.assert_close(found, centred / 5, rtol=0, atol=20 / temperature)


def test_kl_and_soft_cross_entropy_differ_by_the_teacher_entropy():
    s, t = logits(5, 4), logits(5, 4, seed=1)
    entropy = -(t.softmax(-1) * t.log_softmax(-1)).sum(-1).mean()
    torch.testing.assert_close(soft_cross_entropy(s, t), kd_kl(s, t) + entropy)
    torch.testing.assert_close(soft_cross_entropy(t, t), entropy)
    assert gradient(lambda z: soft_cross_entropy(z, t), t).abs().max() < 1e-12


def test_soft_cross_entropy_has_no_temperature_factor():
    s, t = logits(5, 4), logits(5, 4, seed=1)
    torch.testing.assert_close(soft_cross_entropy(s, t, temperature=3.0), soft_cross_entropy(s / 3, t / 3))


def test_soft_cross_entropy_with_certain_teacher_is_cross_entropy():
    s, labels = logits(6, 3), torch.tensor([0, 2, 1, 1, 0, 2])
    certain = 1e4 * F.one_hot(labels, 3).double()
    torch.testing.assert_close(soft_cross_entropy(s, certain), F.cross_entropy(s, labels))


@pytest.mark.parametrize("loss", [kd_kl, soft_cross_entropy])
@pytest.mark.parametrize("filler", [0.0, 50.0, -float("inf")])
def test_masked_positions_do_not_enter(loss, filler):
    s, t = logits(2, 6), logits(2, 6, seed=1)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
    expected = (loss(s[:1, :4], t[:1, :4]) + loss(s[1:], t[1:])) / 2
    padded = [z.masked_fill(mask == 0, filler) for z in (s, t)]
    torch.testing.assert_close(loss(*padded, mask=mask), expected)
    found = gradient(lambda z: loss(z, padded[1], mask=mask), padded[0])
    assert torch.isfinite(found).all() and (found[mask == 0] == 0).all()


def test_span_loss_does_not_depend_on_padding():
    start, end, labels = logits(1, 4), logits(1, 4, seed=1), torch.tensor([[1, 3]])
    padded = [F.pad(z, (0, 3), value=9.0) for z in (start, end)]
    mask = torch.tensor([[1, 1, 1, 1, 0, 0, 0]])
    expected = (F.cross_entropy(start, labels[:, 0]) + F.cross_entropy(end, labels[:, 1])) / 2
    found = [place_cross_entropy(z, labels[:, i], mask) for i, z in enumerate(padded)]
    torch.testing.assert_close(sum(found) / 2, expected)


def test_the_loss_of_a_language_model_counts_every_word_and_nothing_else():
    """Label 0 is a word, -100 is none; without any guess the loss is 0."""
    z, labels = logits(5, 4), torch.tensor([0, -100, 3, 0, -100])
    found = token_cross_entropy(z, labels)
    torch.testing.assert_close(found[[0, 2, 3]], F.cross_entropy(z[[0, 2, 3]], labels[[0, 2, 3]], reduction="none"))
    assert found[[1, 4]].tolist() == [0.0, 0.0]
    torch.testing.assert_close(token_cross_entropy(z[:1], labels[:1])[0], F.cross_entropy(z[:1], labels[:1]))
    assert token_cross_entropy(z, torch.full((5,), -100)).tolist() == [0.0] * 5
    half = token_cross_entropy(z.bfloat16(), labels)
    assert half.dtype == torch.float32


def test_without_a_mask_every_position_may_be_chosen():
    start, end, labels = logits(2, 4), logits(2, 4, seed=1), torch.tensor([[1, 3], [0, 2]])
    expected = (F.cross_entropy(start, labels[:, 0]) + F.cross_entropy(end, labels[:, 1])) / 2
    found = [place_cross_entropy(z, labels[:, i]) for i, z in enumerate((start, end))]
    torch.testing.assert_close(sum(found) / 2, expected)


@pytest.mark.parametrize("loss, shape", [(hidden_mse, (3, 5, 4)), (attention_score_mse, (3, 2, 5, 5))])
def test_layer_losses_are_the_mean_of_the_losses_of_single_unpadded_sentences(loss, shape):
    s, t = logits(*shape), logits(*shape, seed=1)
    lengths = [5, 2, 3]
    mask = torch.tensor([[1] * n + [0] * (5 - n) for n in lengths])

    def cut(x, n):
        return x[..., :n, :] if loss is hidden_mse else x[..., :n, :n]

    single = [F.mse_loss(cut(s[i], n), cut(t[i], n)) for i, n in enumerate(lengths)]
    torch.testing.assert_close(loss(s, t, mask), torch.stack(single).mean())
    torch.testing.assert_close(loss(s, t), F.mse_loss(s, t))
    assert loss(s, s, mask) == 0


@pytest.mark.parametrize("loss, shape", [(hidden_mse, (3, 5, 64)), (attention_score_mse, (3, 2, 5, 5))])
def test_layer_losses_of_half_precision_are_computed_in_single(loss, shape):
    s, t = (logits(*shape, seed=seed).bfloat16() for seed in (0, 1))
    mask = torch.tensor([[1] * n + [0] * (5 - n) for n in (5, 2, 3)])
    found = loss(s, t, mask)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), loss(s.double(), t.double(), mask), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "loss, shapes",
    [(hidden_mse, [(2, 3, 4), (2, 3, 1)]), (attention_score_mse, [(2, 4, 3, 3), (2, 1, 3, 3)])],
)
def test_layer_losses_refuse_to_broadcast(loss, shapes):
    with pytest.raises(ValueError, match="teacher"):
        loss(*(torch.zeros(shape) for shape in shapes), torch.ones(2, 3))


def test_unpadded_columns_zero_keys_not_queries():
    mask = torch.tensor([[1, 1, 0]])
    found = unpadded_columns(torch.ones(1, 1, 3, 3), mask)
    assert found[0, 0].tolist() == [[1, 1, 0]] * 3


@pytest.mark.parametrize("loss", [kl.kd_kl, kl.soft_cross_entropy])
def test_each_row_has_the_loss_that_it_has_alone(loss):
    s, t = logits(6, 4), logits(6, 4, seed=1)
    alone = torch.cat([loss(s[i : i + 1], t[i : i + 1], temperature=2.0) for i in range(6)])
    torch.testing.assert_close(loss(s, t, temperature=2.0), alone)
    places = torch.tensor([0, 3, 1, 1, 2, 0])
    torch.testing.assert_close(task.place_cross_entropy(s, places), F.cross_entropy(s, places, reduction="none"))
