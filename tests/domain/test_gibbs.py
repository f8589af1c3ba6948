"""Diagnostics agree with theory on chains whose answer is known."""

import math

import numpy as np
import pytest

from service.domain.gibbs import effective_sample_size, split_rhat


def autoregressive(*, chains, draws, rho, seed=0):
    """x_t = ρ·x_{t−1} + √(1 − ρ²)·ε: stationary, worth N(1 − ρ)/(1 + ρ) independent draws."""
    noise = np.random.default_rng(seed).standard_normal((chains, draws))
    x = noise.copy()
    for t in range(1, draws):
        x[:, t] = rho * x[:, t - 1] + math.sqrt(1 - rho**2) * noise[:, t]
    return x


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_effective_sample_size_of_an_autoregression(rho):
    x = autoregressive(chains=8, draws=4000, rho=rho)
    expected = x.size * (1 - rho) / (1 + rho)
    assert effective_sample_size(x) == pytest.approx(expected, rel=0.15)


def test_independent_chains_agree():
    assert split_rhat(autoregressive(chains=4, draws=1000, rho=0.0)) == pytest.approx(1, abs=0.01)


def test_chains_at_different_places_do_not_agree():
    x = autoregressive(chains=4, draws=1000, rho=0.0) + np.arange(4)[:, None]
    assert split_rhat(x) > 1.3


def test_one_drifting_chain_disagrees_with_itself():
    assert split_rhat(np.linspace(0, 1, 100)[None]) > 1.5


@pytest.mark.parametrize("traces", [np.zeros((4, 100)), np.zeros((4, 3))])
def test_nothing_moving_or_too_few_draws_is_not_a_number(traces):
    assert math.isnan(split_rhat(traces))
    assert math.isnan(effective_sample_size(traces))
