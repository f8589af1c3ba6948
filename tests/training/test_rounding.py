"""Rounding that keeps the machine: closer to it, by enumeration, than the nearest steps are."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.training.test_exact import machine
from training.dbn import Dbn, Directed
from training.exact import binary_states, visible_distribution
from training.quantised import quantise
from training.quantised_network import QuantisedDbn, network_moments, quantise_network
from training.rbm import Rbm
from training.rounding import Moments, layer_moments, round_weights


def divergence(p: Rbm, q: Rbm) -> float:
    """KL(p ‖ q) in nats over the visible units, by enumeration."""
    ours, theirs = visible_distribution(p), visible_distribution(q.to(torch.float64))
    return float((ours * (ours / theirs).log()).sum())


def draws(rbm: Rbm, n: int, seed: int) -> torch.Tensor:
    """Exact ones."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.multinomial(visible_distribution(rbm), n, replacement=True, generator=generator)
    return binary_states(rbm.W.shape[0])[drawn].to(rbm.W.dtype)


@pytest.mark.parametrize("seed", range(5))
def test_the_machine_stays_closer_to_itself_than_with_nearest_steps(seed):
    rbm = machine(8, 6, seed=seed)
    coarse = Rbm(W=rbm.W.clone(), b=rbm.b, c=rbm.c)
    coarse.W[0, 0] = 40.0  # so that the step of all is a coarse one
    nearest = quantise(coarse, bits=8)
    together = quantise(coarse, bits=8, moments=layer_moments(coarse, draws(coarse, 4000, seed)))
    assert together.step == nearest.step
    far = divergence(coarse, nearest.dequantised())
    assert 0 <= divergence(coarse, together.dequantised()) < 0.5 * far


def test_weights_that_are_whole_multiples_stay_and_so_do_the_biases():
    rbm = quantise(machine(8, 6, seed=1), bits=8).dequantised()
    moments = layer_moments(rbm, draws(rbm.to(torch.float64), 500, 1).float())
    again = quantise(rbm, bits=8, moments=moments)
    assert torch.equal(again.dequantised().W, rbm.W)
    assert torch.equal(again.dequantised().b, rbm.b)
    assert torch.equal(again.dequantised().c, rbm.c)


@given(st.integers(0, 1000), st.integers(1, 20))
def test_whole_numbers_stay_within_the_limit_and_near_the_weights(seed, limit):
    random = np.random.default_rng(seed)
    W = random.normal(size=(7, 5)) * 3.0
    v, h = torch.from_numpy(random.random((50, 7))), torch.from_numpy(random.random((50, 5)))
    whole = round_weights(W, step=0.25, limit=limit, below=Moments.of(v), above=Moments.of(h))
    assert np.array_equal(whole, np.rint(whole))
    assert np.abs(whole).max() <= limit


def test_units_that_do_not_covary_get_the_nearest_steps():
    W = np.random.default_rng(0).normal(size=(6, 4))
    below = Moments(np.zeros(6), np.diag(np.arange(1.0, 7.0)))
    above = Moments.apart(torch.rand(30, 4))
    whole = round_weights(W, step=0.1, limit=127, below=below, above=above)
    np.testing.assert_array_equal(whole, np.rint(W / 0.1))


def test_moments_are_those_of_all_draws():
    p = torch.tensor([[0.2, 0.9, 0.5], [0.7, 0.1, 0.5]], dtype=torch.float64)
    v = binary_states(3).double()
    weight = torch.stack([(v * q + (1 - v) * (1 - q)).prod(1) for q in p]).mean(0)
    mean = weight @ v
    covariance = (v - mean).T @ ((v - mean) * weight[:, None])
    moments = Moments.of(p)
    np.testing.assert_allclose(moments.mean, mean, atol=1e-12)
    np.testing.assert_allclose(moments.covariance, covariance, atol=1e-12)


def test_biases_take_up_what_rounding_adds_on_average():
    rbm = machine(8, 6, seed=3)
    v = draws(rbm, 3000, 3)
    moments = layer_moments(rbm, v)
    rounded = quantise(rbm, bits=8, moments=moments)
    whole = rounded.dequantised()
    half = float(rounded.step) / 2 * 1.01
    assert (v @ (whole.W.double() - rbm.W) + whole.c - rbm.c).mean(0).abs().max() <= half
    h = torch.from_numpy(moments[1].mean)
    assert ((whole.W.double() - rbm.W) @ h + whole.b - rbm.b).abs().max() <= half


def test_a_directed_layer_stays_closer_to_itself_and_keeps_its_far_side_free_of_biases():
    generator = torch.Generator().manual_seed(2)
    causes = (torch.rand(400, 3, generator=generator) < 0.5).float()
    p = 0.05 + 0.9 * causes.repeat(1, 4)  # four pixels show each
    up = torch.randn(12, 6, generator=generator)
    up[0, 0] = 40.0  # so that the step of all is a coarse one
    layer = Directed(up=up, c=torch.zeros(6), down=up.clone(), b=torch.zeros(12))
    dbn = Dbn(layers=(layer,), top=machine(6, 4, seed=3).to(torch.float32), labels=0)
    moments = network_moments(dbn, p, torch.zeros(400, dtype=torch.int64))
    x = torch.bernoulli(p, generator=generator)
    h = torch.bernoulli(torch.sigmoid(x @ up), generator=generator)

    def wrong(whole: QuantisedDbn) -> tuple[float, float]:
        q, d = whole.up[0].dequantised(), whole.down[0].dequantised()
        assert not q.b.any()
        assert not d.c.any()
        above, below = x @ (q.W - up) + q.c, h @ (d.W - up).T + d.b
        return float(above.square().mean()), float(below.square().mean())

    nearest, together = (
        wrong(quantise_network(dbn, bits=8, moments=known)) for known in (None, moments)
    )
    assert together[0] < 0.8 * nearest[0]
    assert together[1] < 0.8 * nearest[1]
